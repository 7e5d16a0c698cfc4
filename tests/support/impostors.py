"""Programs that say that they are a QEMU, and are none."""

import sys
import textwrap

__all__ = ["DEAD", "LIAR", "impostor"]

DEAD = """
    import sys
    if "stdio" in sys.argv:
        print('{"QMP": {"version": {"qemu": {"major": 11, "minor": 1, "micro": 0}}}}')
    else:
        sys.exit("out of magic")
"""

LIAR = """
    import json, re, socket, sys
    def say(to, **message): to.write(json.dumps(message) + "\\n"); to.flush()
    def lie(reader, writer):
        version = {"qemu": {"major": 11, "minor": 1, "micro": 0}, "package": ""}
        say(writer, QMP={"version": version, "capabilities": []})
        for line in reader:
            asked = json.loads(line)
            answer = {} if asked["execute"] == "qmp_capabilities" else ["nonsense"]
            say(writer, **{"return": answer, **({"id": asked["id"]} if "id" in asked else {})})
    if "stdio" in sys.argv:
        lie(sys.stdin, sys.stdout)
    else:
        words = " ".join(sys.argv)
        with open(re.search("-debugcon file:([^ ]+)", words)[1], "w") as console:
            console.write("start\\n00000010\\n")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(re.search("unix:([^,]+)", words)[1])
            listening.listen()
            while True:
                with listening.accept()[0] as peer:
                    try:
                        lie(peer.makefile("r"), peer.makefile("w"))
                    except OSError:
                        pass
"""


def impostor(folder, source):
    """Make a program of a source in Python; its path."""
    path = folder / "qemu-system-x86_64"
    path.write_text(f"#!{sys.executable}\n{textwrap.dedent(source)}")
    path.chmod(0o755)
    return path
