"""A group as a Promela model for SPIN: the question of `planner.explore.group` for an outside witness.

Each member is a place in its list, a guest two counters for each other one, and two more of its
snapshot.  One process makes one move at a time, as the explorer does; SPIN adds another search.

Rules: deterministic text.  An end asserts one property of its choice, so that one search (``pan -c0``)
names every property that can be violated; `all-or-none` is asserted wherever a member is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.explore.group import PROPERTIES, GroupExploration
from planner.explore.group_items import Item, items_of
from planner.model.operations import Kind
from planner.model.request import RunStateAfter
from planner.program.gates import Gate

__all__ = ["group_promela"]

_HEAD = """\
/* {title}
 * Written by `snapplan group explore --export promela`.  To search it:
 *   spin -a MODEL && cc -DSAFETY -O2 -o pan pan.c && ./pan -c0 -E -n -m1000000
 * Every "assertion violated !(bad_PROPERTY)" is a property that some run violates.
 */
#define N {count}
#define WORKS 0
#define RECORDED 1
#define UNDONE 2
byte place[N], end[N];
bool running[N], saved[N];
byte sent[{pairs}], received[{pairs}];                /* [from * N + to], as the guests have counted */
byte sent_then[{pairs}], received_then[{pairs}];      /* as the snapshots hold it */
byte in_all, faults;
bool given_up, committed, dead;
bool bad_one_instant_of_the_group, bad_all_or_none, bad_guests_as_before;
"""


def group_promela(setting: GroupExploration) -> str:
    """Write an exploration of a group as a Promela model."""
    return "\n".join([*_Writer(setting).lines(), ""])


class _Writer:
    def __init__(self, setting: GroupExploration) -> None:
        self._setting = setting
        self._names = sorted(setting.programs)
        programs = [setting.programs[name] for name in self._names]
        before = (each.resolution.run_state_before for each in programs)
        self._ran = [state is RunStateAfter.RUNNING for state in before]
        self._lists = [tuple(items_of(each)) for each in programs]
        self._all = range(len(self._names))

    def lines(self) -> Iterator[str]:
        count = len(self._names)
        title = (
            f"a group of {count}, {self._setting.messages} messages, {self._setting.faults} faults"
        )
        yield _HEAD.format(title=title, count=count, pairs=count * count)
        yield "active proctype a_group() {"
        ran = " ".join(f"running[{n}] = true;" for n in self._all if self._ran[n])
        yield f"  atomic {{ {ran} skip }};"
        yield "  do"
        for a in self._all:
            yield from (line for b in self._all if a != b for line in self._messages(a, b))
        for number in self._all:
            yield f"  /* member {number}, in order of name */"
            yield from self._member(number)
        working = " || ".join(f"end[{n}] == WORKS" for n in self._all)
        yield f"  :: atomic {{ !dead && ({working}) -> dead = true }}"
        some = " || ".join(f"end[{n}] == RECORDED" for n in self._all)
        whole = " && ".join(["committed", *(f"saved[{n}]" for n in self._all)])
        yield f"  :: atomic {{ ({some}) && !({whole}) -> bad_all_or_none = true; break }}"
        yield f"  :: atomic {{ !({working}) -> break }}"
        yield "  od;"
        yield "  skip;"  # SPIN jumps into no d_step
        yield from self._verdict()
        yield "}"

    def _messages(self, a: int, b: int) -> Iterator[str]:
        at = a * len(self._names) + b
        if self._serves(a):
            return  # a storage daemon
        written = f"; received[{at}]++" if self._serves(b) else ""
        yield (
            f"  :: atomic {{ {self._going()} && running[{a}] && in_all < {self._setting.messages} ->"
            f" sent[{at}]++; in_all++{written} }}"
        )
        yield (
            f"  :: atomic {{ {self._going()} && running[{b}] && sent[{at}] > received[{at}] ->"
            f" received[{at}]++ }}"
        )

    def _serves(self, number: int) -> bool:
        return Gate.STANDING in self._lists[number]

    def _going(self) -> str:
        return "(" + " || ".join(f"end[{n}] == WORKS" for n in self._all) + ")"

    def _member(self, number: int) -> Iterator[str]:
        works = f"end[{number}] == WORKS"
        undone = (
            f"saved[{number}] = false; {self._forgotten(number)}"
            f"running[{number}] = {'true' if self._ran[number] else 'false'}; end[{number}] = UNDONE"
        )
        yield f"  :: atomic {{ !dead && {works} && given_up -> {undone} }}"
        whole = f"committed && place[{number}] >= {self._lists[number].index(Gate.COMMIT)}"
        yield f"  :: atomic {{ dead && {works} && {whole} -> end[{number}] = RECORDED }}"
        yield f"  :: atomic {{ dead && {works} && !({whole}) -> {undone} }}"
        goes_on = f"!dead && {works} && !given_up"
        last = len(self._lists[number])
        yield f"  :: atomic {{ {goes_on} && place[{number}] == {last} -> end[{number}] = RECORDED }}"
        for place, item in enumerate(self._lists[number]):
            here = f"{goes_on} && place[{number}] == {place}"
            yield from self._item(number, here, item)

    def _item(self, number: int, here: str, item: Item) -> Iterator[str]:
        on = f"place[{number}]++"
        if isinstance(item, Gate):
            waits = item in self._setting.gates and item is not Gate.PAUSED
            there = [each for n in self._all if waits for each in self._is_at(n, item)]
            guard = " && ".join([here, *there])
            decides = "committed = true; " if item is Gate.COMMIT else ""
            yield f"  :: atomic {{ {guard} -> {decides}{on} }}"
            return
        yield f"  :: atomic {{ {here} -> {self._done(number, item)} {on} }}"
        yield (
            f"  :: atomic {{ {here} && faults < {self._setting.faults} -> faults++; given_up = true }}"
        )

    def _is_at(self, number: int, gate: Gate) -> Iterator[str]:
        if gate is not Gate.STANDING:
            yield f"place[{number}] >= {self._lists[number].index(gate)}"
        elif Gate.PAUSED in self._lists[number]:
            yield f"place[{number}] > {self._lists[number].index(Gate.PAUSED)}"

    def _done(self, number: int, item: Kind) -> str:
        if item is Kind.PAUSE_GUEST:
            return f"running[{number}] = false;"
        if item is Kind.RESUME_GUEST:
            return f"running[{number}] = true;"
        return f"saved[{number}] = true; {self._kept(number)}"

    def _pairs(self, number: int) -> Sequence[tuple[str, int]]:
        count = len(self._names)
        others = [n for n in self._all if n != number]
        sent = [("sent", number * count + n) for n in others]
        return [*sent, *(("received", n * count + number) for n in others)]

    def _kept(self, number: int) -> str:
        return " ".join(f"{w}_then[{at}] = {w}[{at}];" for w, at in self._pairs(number))

    def _forgotten(self, number: int) -> str:
        return "".join(f"{w}_then[{at}] = 0; " for w, at in self._pairs(number))

    def _verdict(self) -> Iterator[str]:
        count = len(self._names)
        ended = " && ".join(f"end[{n}] != WORKS" for n in self._all)
        differ = " || ".join(f"(saved[{n}] != (end[{n}] == RECORDED))" for n in self._all)
        stands = [f"!running[{n}]" for n in self._all if self._ran[n]]
        torn = [
            f"(saved[{a}] && saved[{b}] && received_then[{at}] "
            f"{'!=' if self._serves(b) else '>'} sent_then[{at}])"
            for a in self._all
            for b in self._all
            if a != b
            for at in [a * count + b]
        ]
        yield "  d_step {"
        yield f"    bad_all_or_none = bad_all_or_none || (({ended}) && ({differ}));"
        yield f"    bad_guests_as_before = ({ended}) && ({' || '.join(stands) or 'false'});"
        yield f"    bad_one_instant_of_the_group = ({ended}) && ({' || '.join(torn) or 'false'})"
        yield "  };"
        yield "  if"
        for word in PROPERTIES:
            yield f"  :: assert(!(bad_{word.replace('-', '_')}))"
        yield "  fi"
