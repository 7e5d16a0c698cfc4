; The guest that keeps rewriting its memory: two sectors, 64 bits, for benchmarks of the pause.
;
; It fills so many pages from 16 MiB on, then rewrites all of them, page after page, for ever: the whole
; page, with a value that names the page and the pass. Before it rewrites a page it demands the value of
; the pass before, so that RAM restored from another instant than the processor cannot pass unseen.
; A timer tick (100 Hz) allows so many pages; what a pause or a slow host costs is not made up for later.
; Where none are allowed it is idle once all is filled.
;
; Memory has a hole below 4 GiB on QEMU's pc machine (3 GiB up, once there is more than 3.5 GiB): the
; writing jumps over it, and over the 16 MiB before it, where devices write even now. The disks are never touched after the boot.
;
; It writes in ring 3, because a KVM without hardware's help runs nothing else at full speed.
;
; It speaks through port 0xe9, QEMU's debug console:
;   start            it runs
;   00000010         so many chunks of 16 MiB were written so far, the filling included
;   FAIL             a page does not hold what was last written to it; then it halts

bits 16
org 0x7c00

TABLES          equ 0x10000             ; PML4, PDPT, 6 page directories: 6 GiB in pages of 2 MiB
DIRECTORIES     equ 6
IDT             equ 0x9000
TSS             equ 0x8000
TIMER_VECTOR    equ 8                   ; where the BIOS has left IRQ 0
SLEEP_VECTOR    equ 9
FIRST_BYTE      equ 16 << 20
HOLE            equ (3 << 30) - FIRST_BYTE      ; the BIOS keeps its virtqueues at the end of low memory
HOLE_BYTES      equ (1 << 30) + FIRST_BYTE
TIMER_DIVISOR   equ 1193182 / 100
%ifndef HEARTBEAT_MASK
HEARTBEAT_MASK  equ 4095                ; pages: 16 MiB; -D says another power of two, less one
%endif
CONSOLE         equ 0xe9

start:
        jmp     0:.segments
.segments:
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, start
        cld
        mov     ax, 0x0201              ; the second sector, from the drive in DL
        mov     bx, start + 512
        mov     cx, 2
        mov     dh, 0
        int     0x13
        cli
        in      al, 0x92                ; the address line A20
        or      al, 2
        out     0x92, al

        xor     ax, ax
        mov     di, TSS
        mov     cx, (IDT + 4096 - TSS) / 2
        rep     stosw
        mov     word [TSS + 4], start   ; ring 0's stack
        mov     si, gates
        mov     di, IDT + 16 * TIMER_VECTOR
        movsd
        movsd
        add     di, 8
        movsd
        movsd

        mov     ax, TABLES >> 4
        mov     es, ax
        xor     di, di
        xor     eax, eax
        mov     cx, (2 + DIRECTORIES) * 1024
        rep     stosd
        mov     dword [es:0], TABLES + 0x1007
        mov     di, 0x1000
        mov     eax, TABLES + 0x2007
        mov     cx, DIRECTORIES
.directory:
        mov     [es:di], eax
        add     di, 8
        add     eax, 0x1000
        loop    .directory
        mov     di, 0x2000
        mov     eax, 0x87               ; present, writable, for ring 3, 2 MiB
        xor     edx, edx
        mov     cx, DIRECTORIES * 512
.entry:
        mov     [es:di], eax
        mov     [es:di + 4], edx
        add     di, 8
        add     eax, 2 << 20
        adc     edx, 0
        loop    .entry

        mov     al, 0xfe                ; IRQ 0 alone
        out     0x21, al
        mov     al, 0xff
        out     0xa1, al
        mov     al, 0x34                ; channel 0, mode 2
        out     0x43, al
        mov     al, TIMER_DIVISOR & 255
        out     0x40, al
        mov     al, TIMER_DIVISOR >> 8
        out     0x40, al

        lgdt    [gdt_register]
        lidt    [idt_register]
        mov     eax, cr4
        or      al, 1 << 5              ; PAE
        mov     cr4, eax
        mov     eax, TABLES
        mov     cr3, eax
        mov     ecx, 0xc0000080         ; EFER: long mode
        rdmsr
        or      ah, 1
        wrmsr
        mov     eax, cr0
        or      eax, 0x80000001
        mov     cr0, eax
        jmp     8:long_mode

gates:          dw on_timer, 8, 0x8e00, 0
                dw on_sleep, 8, 0xee00, 0       ; from ring 3 too

        times   510 - ($ - $$) db 0
        dw      0xaa55

bits 64
long_mode:
        mov     ax, 0x20
        ltr     ax
        push    0x10 | 3
        push    start - 256             ; ring 3's stack
        push    0x3002                  ; it may speak to ports, no interrupts yet
        push    0x18 | 3
        push    ring_3
        iretq

ring_3:
        mov     esi, text_start
        call    print
        xor     r8d, r8d                ; the pass, in the upper half
        xor     r10d, r10d              ; pages written so far
        mov     r9d, [allowed]
next_pass:
        xor     ecx, ecx                ; the page
next_page:
        mov     rdi, rcx
        shl     rdi, 12
        add     rdi, FIRST_BYTE
        mov     eax, HOLE               ; (no sign: the upper half is cleared)
        cmp     rdi, rax
        jb      .below_hole
        add     rdi, HOLE_BYTES
.below_hole:
        mov     rax, r8
        or      rax, rcx
        test    r8, r8
        jz      .write                  ; nothing was written before the first pass
        cmp     [rdi], rax
        jne     page_fails
.write:
        mov     edx, 1
        shl     rdx, 32
        add     rax, rdx
        mov     ebp, ecx
        mov     ecx, 512
        rep     stosq
        mov     ecx, ebp

        inc     r10
        test    r10d, HEARTBEAT_MASK
        jnz     .silent
        mov     rdx, r10
        shr     rdx, 12
        call    print_dword
.silent:
        inc     ecx
        cmp     ecx, [pages]
        je      .pass_done
        test    r8, r8
        jz      next_page               ; filling is not held back
        dec     r9d
        jnz     next_page
        int     SLEEP_VECTOR
        mov     r9d, [allowed]
        jmp     next_page
.pass_done:
        mov     eax, 1
        shl     rax, 32
        add     r8, rax
        cmp     dword [allowed], 0      ; a guest that fills its memory and is idle then
        jne     next_pass
        jmp     page_fails.forever

page_fails:
        mov     esi, text_fail
        call    print
.forever:
        int     SLEEP_VECTOR
        jmp     .forever

; Sleeps until the next tick. Keeps all but RAX.
on_sleep:
        sti                             ; takes effect after the next instruction: no tick is lost
        hlt
        jmp     on_sleep

on_timer:
        mov     al, 0x20
        out     0x20, al
        mov     esp, start - 5 * 8      ; straight back to ring 3, as if on_sleep returned: some KVMs
        iretq                           ; lose RSP in a return from ring 0 to ring 0

; Prints the text at RSI, which ends with a zero.
print:
        lodsb
        test    al, al
        jz      .done
        out     CONSOLE, al
        jmp     print
.done:
        ret

; Prints EDX as eight digits and a newline. Keeps all but RAX and RDX.
print_dword:
        mov     ah, 8
.digit:
        rol     edx, 4
        mov     al, dl
        and     al, 15
        cmp     al, 10
        jb      .decimal
        add     al, 'a' - '0' - 10
.decimal:
        add     al, '0'
        out     CONSOLE, al
        dec     ah
        jnz     .digit
        mov     al, 10
        out     CONSOLE, al
        ret

text_start:     db "start", 10, 0
text_fail:      db "FAIL", 10, 0

        align   8
gdt:            dq 0
                dq 0x00209a0000000000   ; code, 64 bits
                dq 0x0000f20000000000   ; ring 3: data
                dq 0x0020fa0000000000   ; ring 3: code, 64 bits
                dq 0x0000890000000067 + (TSS << 16)
                dq 0
gdt_register:   dw 47
                dd gdt
idt_register:   dw 16 * (SLEEP_VECTOR + 1) - 1
                dd IDT

; What writer.py fills in.
        times   1016 - ($ - $$) db 0
pages:          dd 0
allowed:        dd 0                    ; pages in a tick
