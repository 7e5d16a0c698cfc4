"""Lines of the human monitor."""


def hmp(vm, line):
    return vm.execute("human-monitor-command", {"command-line": line})


def held(vm, node):
    return [(s.tag, s.vm_state_size > 0) for s in vm.snapshots(node)]
