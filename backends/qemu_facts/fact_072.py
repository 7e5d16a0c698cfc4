"""Fact 72: what an encrypted image shows without its key."""

import json
import subprocess

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import differs, found, holds, same
from backends.qemu_facts.lab.qemu import qemu_img_binary
from backends.qemu_facts.steps.images import (
    place,  # noqa: F401 - a resource
)


def qemu_img(*words):
    return subprocess.run([qemu_img_binary(), *words], capture_output=True, text=True, check=False)


@experiment()
def what_an_encrypted_image_shows_without_its_key(place):
    """Its snapshots, to `info` and to nobody else."""
    key = place.path / "key"
    key.write_text("pw")
    path = place.image(
        "a.qcow2",
        *("--object", f"secret,id=k,file={key}"),
        *("-o", "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10"),
    )
    image = f"driver=qcow2,file.driver=file,file.filename={path},encrypt.key-secret=k"
    opened = ("--object", f"secret,id=k,file={key}", "--image-opts", image)
    same(qemu_img("snapshot", "-c", "a", *opened).returncode, 0)
    told = json.loads(qemu_img("info", "--output=json", "-f", "qcow2", str(path)).stdout)
    same([snapshot["name"] for snapshot in told["snapshots"]], ["a"])
    for words in (("snapshot", "-l"), ("snapshot", "-d", "a"), ("check", "-f", "qcow2")):
        refused = qemu_img(*words, str(path))
        differs(refused.returncode, 0)
        found("'encrypt.key-secret' is required", refused.stderr)
    (place.path / "wrong").write_text("not it")
    node = {"driver": "qcow2", "file": {"driver": "file", "filename": str(path)}}
    node["encrypt"] = {"format": "luks", "key-secret": "k"}
    delete = ("snapshot", "-d", "a", "--object")
    wrong = qemu_img(
        *delete, f"secret,id=k,file={place.path / 'wrong'}", f"json:{json.dumps(node)}"
    )
    found("Invalid password, cannot unlock any keyslot", wrong.stderr)
    done = qemu_img(*delete, f"secret,id=k,file={key}", f"json:{json.dumps(node)}")
    holds(done.returncode == 0, done.stderr)


if __name__ == "__main__":
    run_by_hand(globals())
