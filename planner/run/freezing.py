"""The guest's file systems in a run: frozen before the capture, thawed after it, whatever happens.

Rules: nothing is frozen that somebody else has frozen, since thawing would be theirs.  A thaw is owed
from the moment at which a freeze is sent: a freeze that was refused or not answered may have frozen
some.  A thaw counts once the agent says that they are thawed; it is asked again until then, on its own
socket, so that a lost QMP connection is no hindrance.  A capture during which somebody else thawed is
no frozen one.
"""

from __future__ import annotations

from planner.errors import Problem
from planner.model.request import FreezeFilesystems
from planner.program.program import AGENT_INSTRUCTIONS, Step
from planner.run.actions import AskAgent, ErrorReply, Flow, NoAnswer, Response, Returned
from planner.run.run_context import RunContext

__all__ = ["STATUS", "agent_step", "check_agent", "settle_thaw"]

FREEZE, THAW = AGENT_INSTRUCTIONS
STATUS = "guest-fsfreeze-status"
_STATUS_S = 5.0
_THAW_S = 10.0
_ROUNDS = 3


def check_agent(context: RunContext) -> Flow[None]:
    """Make sure that the agent answers and that nothing is frozen.

    Raises:
        StepFailed: It does not, or somebody has frozen the file systems; nothing was changed.
    """
    status = _must_say(context, (yield AskAgent(STATUS, _STATUS_S)))
    if status != "thawed":
        raise context.failed(
            "frozen-by-other", "the guest's file systems are frozen already, and not by this run"
        )


def agent_step(
    context: RunContext, step: Step, freeze: FreezeFilesystems, deadline_s: float | None
) -> Flow[None]:
    """Do a step of target `agent`.

    Raises:
        StepFailed: It was not done; where it was a freeze, or a thaw that was not answered, a thaw is
            owed.
    """
    timeout_s = deadline_s or step.timeout_s
    if step.execute == FREEZE:
        yield from check_agent(context)
        context.owes_thaw = True
        count = _must_say(context, (yield AskAgent(FREEZE, timeout_s, freeze.at_most_s)))
        context.frozen_count = count if isinstance(count, int) else 0
        if not context.frozen_count:
            raise context.failed(
                "nothing-frozen", "the guest has no file system that can be frozen"
            )
        return
    count = _must_say(context, (yield AskAgent(THAW, timeout_s)))
    if isinstance(count, int) and count < context.frozen_count:
        raise context.failed(
            "thawed-by-other",
            f"{context.frozen_count} file systems were frozen and {count} were still frozen at the end: "
            "the guest may have written in between",
        )
    context.owes_thaw = False


def _must_say(context: RunContext, response: Response) -> object:
    if isinstance(response, Returned):
        return response.value
    if isinstance(response, ErrorReply):
        raise context.failed("agent-refused", f"the guest agent says: {response.description}")
    raise context.failed("agent-silent", response.why)


def settle_thaw(context: RunContext, agent: str, undone: list[str]) -> Flow[Problem | None]:
    """Thaw until the agent says that the file systems are thawed, where that is owed.

    Args:
        context: The run's memory.
        agent: The agent's socket, for the message.
        undone: Gets what was done, in words.

    Returns:
        What is wrong where they may still be frozen; then a thaw stays owed.
    """
    if not context.owes_thaw:
        return None
    why = ""
    for _ in range(_ROUNDS):
        thaw = yield AskAgent(THAW, _THAW_S)
        status = yield AskAgent(STATUS, _STATUS_S)
        if isinstance(status, Returned) and status.value == "thawed":
            context.owes_thaw = False
            undone.append("thawed the guest's file systems")
            return None
        why = _why_not(thaw, status)
    return Problem(
        "file-systems-frozen",
        agent,
        f"the guest's file systems may still be frozen: {why}",
        f"send {THAW} to the guest agent, or reset the guest",
    )


def _why_not(thaw: Response, status: Response) -> str:
    for response in (thaw, status):
        if isinstance(response, ErrorReply):
            return f"the guest agent says: {response.description}"
        if isinstance(response, NoAnswer):
            return response.why
    return "the guest agent says so"
