"""What the facts about saving look at."""

FAILING_VMSTATE = {"event": "vmstate_save", "errno": 5, "once": True}
