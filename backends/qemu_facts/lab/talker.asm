; The guest that talks: one boot sector. Each millisecond it takes all that came in on its second serial
; port (COM2), and sends four bytes on its first (COM1). Several of them make a ring: what one sends the
; next one receives.
;
; It counts what it sent before it sends, and what it received after it received, so that at any
; instant nobody can have received more from a guest than that guest has counted; what is under way is
; the difference. It never waits for a byte: bytes that a link loses stop nobody.
;
; It speaks through port 0xe9, QEMU's debug console:
;   start                             it runs
;   00000010                          how many bytes it has sent, each 256 milliseconds
;
; Tests read the counters in memory: at SENT and RECEIVED, 32 bits each, little endian.

bits 16
cpu 386
org 0x7c00

SENT            equ 0x8000
RECEIVED        equ 0x8004
COM1            equ 0x3f8
COM2            equ 0x2f8
AT_ONCE         equ 4
TIMER_DIVISOR   equ 1193182 / 1000
CONSOLE         equ 0xe9

start:
        jmp     0:.segments
.segments:
        cli
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, start
        cld
        mov     di, SENT
        mov     cx, 4
        rep     stosw
        mov     dx, COM1 + 1            ; no interrupts, eight bits, FIFOs that take 14 bytes
        call    set_up
        mov     dx, COM2 + 1
        call    set_up
        mov     al, 0x34                ; the timer's channel 0, mode 2
        out     0x43, al
        mov     al, TIMER_DIVISOR & 255
        out     0x40, al
        mov     al, TIMER_DIVISOR >> 8
        out     0x40, al
        mov     si, text_start
.next:
        lodsb
        out     CONSOLE, al
        cmp     al, 10
        jne     .next
        sti

millisecond:
        hlt
.receive:
        mov     dx, COM2 + 5
        in      al, dx
        test    al, 1
        jz      .received
        mov     dx, COM2
        in      al, dx
        inc     dword [RECEIVED]
        jmp     .receive
.received:
        mov     cx, AT_ONCE
.send:
        mov     dx, COM1 + 5
        in      al, dx
        test    al, 0x20                ; the link has taken the byte before
        jz      .sent
        inc     dword [SENT]
        mov     al, [SENT]
        mov     dx, COM1
        out     dx, al
        loop    .send
.sent:
        inc     byte [ticks]
        jnz     millisecond
        mov     eax, [SENT]
        mov     cx, 8
.digit:
        rol     eax, 4
        push    ax
        and     al, 15
        cmp     al, 10
        jb      .decimal
        add     al, 'a' - '0' - 10
.decimal:
        add     al, '0'
        out     CONSOLE, al
        pop     ax
        loop    .digit
        mov     al, 10
        out     CONSOLE, al
        jmp     millisecond

; Sets up the port whose second register is DX.
set_up:
        mov     al, 0
        out     dx, al
        inc     dx
        mov     al, 0xc1
        out     dx, al
        inc     dx
        mov     al, 3
        out     dx, al
        ret

text_start:     db "start", 10
ticks:          db 0

        times   510 - ($ - $$) db 0
        dw      0xaa55
