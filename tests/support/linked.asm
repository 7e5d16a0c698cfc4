; A guest that talks to another one of its kind over a serial line: one boot sector, no BIOS services.
;
; It sends numbers that only grow, and demands that what it receives only grows too. A gap is no fault:
; what was under way when a snapshot was taken is in no guest's state. A number that was received before
; is: then the other guest does not know that it has sent it, and the two are of different instants.
;
; The number counts as sent before its last byte is, and as received after: whatever lies between two
; instructions looks like a gap.
;
; A number has 14 bits, in two bytes: 1hhhhhhh 0lllllll. It speaks through port 0xe9:
;   S 0100 R 00f3                     so many sent, so many received: each 256 numbers
;   TORN want 0123 got 0100           then it halts

bits 16
cpu 386
org 0x7c00

LINE            equ 0x3f8
STATUS          equ LINE + 5
CONSOLE         equ 0xe9
PACE            equ 20                  ; looks at the line between two bytes
IDLE            equ 4000
MASK            equ 0x3fff

start:
        jmp     0:.segments
.segments:
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, start
        cld
        cli
        mov     dx, LINE + 3
        mov     al, 3                   ; eight bits, no parity
        out     dx, al

look:
        mov     cx, IDLE                ; else QEMU's main loop hardly gets its lock on a busy host
.idle:
        loop    .idle
        mov     dx, STATUS
        in      al, dx
        test    al, 1
        jz      .nothing
        mov     dx, LINE
        in      al, dx
        call    take
.nothing:
        dec     word [pace]
        jnz     look
        inc     word [pace]             ; until the line takes it
        mov     dx, STATUS
        in      al, dx
        test    al, 0x20
        jz      look
        mov     word [pace], PACE
        mov     dx, LINE
        xor     byte [half], 1
        jz      .last
        mov     ax, [sent]
        shr     ax, 7
        or      al, 0x80
        out     dx, al
        jmp     look
.last:
        mov     ax, [sent]
        mov     bx, ax
        inc     bx
        and     bx, MASK
        mov     [sent], bx
        and     al, 0x7f
        out     dx, al
        test    bl, bl
        jnz     look
        mov     si, text_sent
        call    print
        mov     ax, [sent]
        call    print_word
        mov     si, text_received
        call    print
        mov     ax, [wanted]
        call    print_word
        mov     al, 10
        out     CONSOLE, al
        jmp     look

; Takes a byte in AL.
take:
        test    al, 0x80
        jz      .low
        mov     [high], al
        ret
.low:
        xor     bh, bh
        mov     bl, [high]
        mov     byte [high], 0
        test    bl, 0x80
        jz      .done                   ; its first byte was lost
        and     bl, 0x7f
        shl     bx, 7
        or      bl, al
        mov     cx, bx
        sub     cx, [wanted]
        test    cx, 0x2000
        jnz     torn
        inc     bx
        and     bx, MASK
        mov     [wanted], bx
.done:
        ret

torn:
        mov     si, text_torn
        call    print
        mov     ax, [wanted]
        call    print_word
        mov     si, text_got
        call    print
        mov     ax, bx
        call    print_word
        mov     al, 10
        out     CONSOLE, al
.forever:
        hlt
        jmp     .forever

; Prints the text at SI, which ends with a zero.
print:
        lodsb
        test    al, al
        jz      .done
        out     CONSOLE, al
        jmp     print
.done:
        ret

; Prints AX as four digits.
print_word:
        mov     cx, 4
.digit:
        rol     ax, 4
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
        ret

text_sent:      db "S ", 0
text_received:  db " R ", 0
text_torn:      db "TORN want ", 0
text_got:       db " got ", 0

        align   2
sent:           dw 0
wanted:         dw 0
pace:           dw PACE
half:           db 0
high:           db 0

        times   510 - ($ - $$) db 0
        dw      0xaa55
