"""Files by descriptor: no step follows a name that another user can change."""

import os
from pathlib import Path

import pytest

from backends.by_descriptor import Folder, name_of, open_file

SOMEBODY = 65534


@pytest.fixture
def victim(tmp_path):
    """A file that must not be touched."""
    file = tmp_path / "victim"
    file.write_text("untouched")
    return file


@pytest.fixture
def somebody_elses(monkeypatch):
    """Make a symbolic link another user's: as root its owner is changed, else we are another user."""

    def give_away(link: Path) -> None:
        if os.geteuid() == 0:
            os.chown(link, SOMEBODY, SOMEBODY, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)

    return give_away


def test_a_folder_that_was_moved_away_is_still_the_one_that_was_opened(tmp_path):
    """A symbolic link in the place of the folder leads nobody elsewhere."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "elsewhere").mkdir()
    with Folder(tmp_path / "folder") as folder:
        (tmp_path / "folder").rename(tmp_path / "moved")
        (tmp_path / "folder").symlink_to("elsewhere")
        os.close(folder.create("made"))
    assert (tmp_path / "moved/made").exists()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_what_is_open_gets_the_name_whatever_its_own_name_means_by_now(tmp_path, victim):
    """A temporary name that was swapped for a symbolic link is neither linked nor written to."""
    with Folder(tmp_path) as folder:
        descriptor = folder.create("temporary")
        (tmp_path / "temporary").rename(tmp_path / "away")
        (tmp_path / "temporary").symlink_to(victim)
        Path(name_of(descriptor)).write_text("ours")
        folder.link(descriptor, "named")
        os.close(descriptor)
    assert (tmp_path / "named").read_text() == "ours"
    assert not (tmp_path / "named").is_symlink()
    assert victim.read_text() == "untouched"


def test_a_link_is_never_made_over_anything(tmp_path, victim):
    """Not even over a symbolic link that leads nowhere."""
    (tmp_path / "dangling").symlink_to("nowhere")
    with Folder(tmp_path) as folder:
        descriptor = folder.create("temporary")
        for name in (victim.name, "dangling"):
            with pytest.raises(FileExistsError):
                folder.link(descriptor, name)
        with pytest.raises(FileExistsError):
            folder.create("dangling")
        os.close(descriptor)
    assert victim.read_text() == "untouched"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_only_a_regular_file_is_opened_in_a_folder(tmp_path, victim, kind):
    """And nothing is waited for."""
    odd = tmp_path / "odd"
    {"link": lambda: odd.symlink_to(victim), "fifo": lambda: os.mkfifo(odd), "folder": odd.mkdir}[
        kind
    ]()
    with Folder(tmp_path) as folder, pytest.raises(OSError, match="odd"):
        folder.open("odd")


def test_links_of_ones_own_are_followed(tmp_path, victim):
    """Images behind symbolic links, relative and absolute, through folders and `..`, are ordinary."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "relative").symlink_to("folder")
    (tmp_path / "folder/absolute").symlink_to(victim)
    for path in ("relative/absolute", "relative/../victim", "folder/./absolute"):
        descriptor = open_file(tmp_path / path)
        assert os.read(descriptor, 20) == b"untouched"
        os.close(descriptor)


def test_another_users_link_to_what_is_not_theirs_is_not_followed(tmp_path, victim, somebody_elses):
    """As `fs.protected_symlinks` has it, on every part of the way."""
    link = tmp_path / "link"
    link.symlink_to(victim)
    (tmp_path / "folder").symlink_to(tmp_path)
    somebody_elses(link)
    with pytest.raises(OSError, match="another user"):
        open_file(link)
    link.unlink()
    link.symlink_to(tmp_path)
    somebody_elses(link)
    with pytest.raises(OSError, match="another user"):
        Folder(link)


def test_links_in_a_circle_end(tmp_path):
    """With one clear error."""
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(OSError, match="too many"):
        open_file(tmp_path / "one")


def test_neither_fifo_nor_character_device_is_opened(tmp_path):
    """A FIFO would be waited for, and a tape rewound."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/null")):
        with pytest.raises(OSError, match="no regular file"):
            open_file(path)
