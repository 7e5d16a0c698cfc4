; The guest that checks itself: one boot sector, BIOS services only.
;
; For ever: in each of 64 pages of RAM and on each disk of the table it demands the value that RAM
; says was last written there, and writes the next one. Everything it knows is one counter, so a
; snapshot whose parts are of different instants cannot satisfy it: a disk that ran ahead of RAM, or
; stayed behind it, shows another number. A sector never written reads 0, which is where it starts.
;
; Two sectors of each disk are used in turn, one a round. With one alone there would be an instant
; that hides a torn disk: between the demand and the write, after which the wrong sector is
; overwritten unseen (about one snapshot in eight fell there). Now the other sector tells.
;
; It speaks through port 0xe9, QEMU's debug console:
;   start                             it runs
;   00000010                          the counter, each 16 rounds: it makes progress
;   FAIL ram want 0000002a got ...    a page of RAM is not of this instant; then it halts
;   FAIL d81 want 0000002a got ...    the disk that the BIOS calls 0x81 is not; then it halts
;   ERROR d81                         the BIOS could not read or write; then it halts
;
; The whole sector is filled with the counter, so that a torn sector is seen as well.

bits 16
cpu 386
org 0x7c00

PAGES_FIRST     equ 0x2000              ; segments: 64 pages from 128 KiB on
PAGES_END       equ 0x6000
PAGE            equ 0x0100              ; 4 KiB as a distance of segments
BUFFER          equ 0x8000
DATA_LBA        equ 2048                ; 1 MiB: never in one qcow2 cluster with the boot sector
SECTORS_APART   equ 7                   ; 2^7 sectors: the two are never in one cluster either
HEARTBEAT_MASK  equ 15
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
        sti
        mov     bx, PAGES_FIRST
.clear_page:
        mov     fs, bx
        mov     dword [fs:0], 0
        add     bx, PAGE
        cmp     bx, PAGES_END
        jne     .clear_page
        mov     si, text_start
        call    print

round:
        mov     eax, [counter]
        mov     [wanted], eax
        mov     bx, PAGES_FIRST
.page:
        mov     fs, bx
        mov     eax, [fs:0]
        cmp     eax, [wanted]
        jne     ram_fails
        inc     dword [fs:0]
        add     bx, PAGE
        cmp     bx, PAGES_END
        jne     .page

        mov     eax, [counter]
        sub     eax, 1                  ; this sector's turn was two rounds ago: it holds one less,
        adc     eax, 0                  ; and 0 at first
        mov     [wanted], eax
        mov     al, [counter]
        and     eax, 1
        shl     eax, SECTORS_APART
        add     eax, DATA_LBA
        mov     [packet.lba], eax
        mov     si, drives
.disk:
        lodsb
        test    al, al
        jz      .disks_done
        mov     dl, al
        mov     ah, 0x42                ; extended read
        call    transfer
        mov     eax, [wanted]
        mov     di, BUFFER
        mov     cx, 128
        repe    scasd
        jne     disk_fails
        mov     eax, [counter]
        inc     eax
        mov     di, BUFFER
        mov     cx, 128
        rep     stosd
        mov     ax, 0x4300              ; extended write, no verify
        call    transfer
        jmp     .disk
.disks_done:
        inc     dword [counter]
        test    byte [counter], HEARTBEAT_MASK
        jnz     round
        mov     eax, [counter]
        call    print_dword
        call    print_newline
        jmp     round

; Transfers the data sector of drive DL; AH says which way. Keeps SI and DL.
transfer:
        push    si
        push    dx
        mov     si, packet
        int     0x13
        pop     dx
        pop     si
        jc      transfer_fails
        ret

ram_fails:
        mov     si, text_ram
        call    print
        jmp     want_and_got

disk_fails:
        mov     eax, [di - 4]           ; the first dword that differs
        mov     si, text_disk
        call    print
        call    print_drive
want_and_got:
        push    eax
        mov     si, text_want
        call    print
        mov     eax, [wanted]
        call    print_dword
        mov     si, text_got
        call    print
        pop     eax
        call    print_dword
        jmp     halt

transfer_fails:
        mov     si, text_error
        call    print
        call    print_drive
halt:
        call    print_newline
        cli
.forever:
        hlt
        jmp     .forever

; Prints the text at SI, which ends with a zero. Keeps EAX.
print:
        push    eax
.next:
        lodsb
        test    al, al
        jz      .done
        out     CONSOLE, al
        jmp     .next
.done:
        pop     eax
        ret

print_newline:
        mov     al, 10
        out     CONSOLE, al
        ret

; Prints DL, the BIOS's number of a drive, as two digits. Keeps EAX.
print_drive:
        push    eax
        mov     cx, 2
        mov     eax, edx
        shl     eax, 24
        call    print_digits
        pop     eax
        ret

; Prints EAX as eight digits; print_digits prints the CX highest ones.
print_dword:
        mov     cx, 8
print_digits:
        rol     eax, 4
        push    ax
        and     al, 15
        cmp     al, 10                  ; the three lines make 0-9a-f of 0-15
        jb      .decimal
        add     al, 'a' - '0' - 10
.decimal:
        add     al, '0'
        out     CONSOLE, al
        pop     ax
        loop    print_digits
        ret

text_start:     db "start", 10, 0
text_ram:       db "FAIL ram", 0
text_disk:      db "FAIL d", 0
text_want:      db " want ", 0
text_got:       db " got ", 0
text_error:     db "ERROR d", 0

        align   4
counter:        dd 0
wanted:         dd 0
packet:         db 16, 0
                dw 1, BUFFER, 0
.lba:           dq 0

; The drives to check, ended by a zero: guest.py fills the table in (SeaBIOS knows 16 at most).
        times   493 - ($ - $$) db 0
drives:         times 17 db 0
        dw      0xaa55
