"""What a simulated QEMU was sent, and what it answered: a mapping a command.

    {"session": "session-1", "received": {"execute": "stop", "id": 7},
     "answer": {"return": {}}, "events": ["STOP"]}

`answer` is null where nothing, or no whole answer, went back (a fault); `received` is null where it was
no JSON.  The negotiation (`qmp_capabilities`) is left out.
"""

from __future__ import annotations

from backends.simulator.vm import Delivery, Message

__all__ = ["log_entry", "refused_entry"]


def log_entry(session: str, received: Message, delivery: Delivery) -> Message:
    """A command that was carried out, or refused by it; the names of the events around its answer."""
    events = [event["event"] for event in (*delivery.before, *delivery.after)]
    answer = None if delivery.raw or delivery.drop else delivery.reply
    return {"session": session, "received": received, "answer": answer, "events": events}


def refused_entry(session: str, received: object, words: str) -> Message:
    """What was no command, or may not be sent so."""
    answer = {"error": {"class": "GenericError", "desc": words}}
    return {"session": session, "received": received, "answer": answer, "events": []}
