; A guest that changes its own code: it runs a routine that says a for a while, then changes the
; routine so that it says b, and so on to z.  It must say what memory says that it says.
;
; It speaks through port 0xe9, QEMU's debug console: the letters as they are said, and FAIL, and halts,
; where the processor ran other code than is in memory.

bits 16
cpu 386
org 0x7c00

SAID            equ 0x8000              ; what the routine must say; pages of their own, so that no
LEFT            equ 0x8004              ; write to data touches code
ROUTINE         equ 0x9000
TURNS           equ 100
CONSOLE         equ 0xe9

start:
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, start
        cld
        mov     si, routine
        mov     di, ROUTINE
        mov     cx, routine_end - routine
        rep     movsb
        mov     byte [SAID], 'a'
        mov     dword [LEFT], TURNS

turn:
        mov     ecx, 20000
.wait:
        dec     ecx
        jnz     .wait
        call    ROUTINE
        out     CONSOLE, al
        cmp     al, [SAID]
        jne     fails
        dec     dword [LEFT]
        jnz     turn
        mov     al, [SAID]
        inc     al
        cmp     al, 'z'
        jbe     .change
        mov     al, 'a'
.change:
        mov     [SAID], al
        mov     [ROUTINE + 1], al
        mov     dword [LEFT], TURNS
        jmp     turn

routine:
        mov     al, 'a'
        ret
routine_end:

fails:
        mov     si, text
.next:
        lodsb
        test    al, al
        jz      .end
        out     CONSOLE, al
        jmp     .next
.end:
        hlt
        jmp     .end

text:   db      "FAIL", 0

        times   510 - ($ - $$) db 0
        dw      0xaa55
