"""What every Promela model begins with: its numbers and its variables."""

from __future__ import annotations

__all__ = ["HEAD"]


HEAD = """\
/* {title}
 * Written by `snapplan explore --export promela`.  To search it:
 *   spin -a MODEL && cc -DSAFETY -O2 -o pan pan.c && ./pan -c0 -E -n -m100000
 * Every "assertion violated !(bad_PROPERTY)" is a property that some run violates.
 */
#define N {disks}
#define V {vmstate}
#define K {count}
#define FAULTS {faults}
#define NOT_SENT 0
#define UNKNOWN 1
#define APPLIED 2
#define FAILED 3
#define STEPPING 0
#define LOOKING 1
#define UNDOING 2
#define OFFLINE 3
#define ORPHANED 4   /* the client is dead */
#define DONE 5
#define ENDED 6
#define ABANDONED 7  /* and nobody comes after it */
#define WORKS (phase == STEPPING || phase == ORPHANED)
#define UNDOES (phase == UNDOING && !(frozen && !left_thaw))
#define PARTIAL 255

byte version = 1;    /* the guest's instant */
bool captured;       /* something was captured at this instant */
bool running = {runs_before};
byte held;           /* instant of the last pause */
byte content[N];     /* of each disk: the instant at which the guest last wrote it */
byte layer[N];       /* vmstate in the active layer: 0 none, else its instant */
bool part[N];        /* the run's own snapshot */
byte part_content[N];
byte part_vmstate[N];
byte until[N];       /* the instant at which the part's content was written over; 0 not yet */
bool old[N];         /* a snapshot of the tag that the request gives up */
byte phase;
byte at;
bool sent; short done; bool failing; bool stopped;
short takeback;      /* operations that QEMU still takes back, or disks that it cleans up */
byte attempt[K];
bool clean[N]; bool left[N]; bool left_paused; bool dead; bool sent_stop; bool sent_cont;
bool frozen; bool unfrozen; bool left_thaw;  /* the guest's file systems */
byte budget = FAULTS;
byte d; byte first; byte last; byte machine;
bool bad_one_instant; bool bad_complete; bool bad_no_vmstate_left; bool bad_holds_machine_state;
bool bad_atomic; bool bad_run_state_restored; bool bad_settings_restored; bool bad_pause_short;
bool bad_frozen_capture; bool bad_thawed; bool bad_loadable; bool bad_guest_spared; bool alone;
"""
