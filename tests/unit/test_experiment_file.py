"""An experiment file is read strictly: each problem names its key, and nothing is run before."""

import json

import pytest
import yaml

from planner.errors import BadInput, Problem
from planner.experiment.experiment import ASKED, AXES, cases_of
from planner.experiment.reading import read_experiment
from tests.support.contract import validator
from tests.unit.build import ROOT

EXAMPLES = sorted((ROOT / "specs/experiments").glob("*.yaml"))
MEASURE = {"experiment": "m", "kind": "measure", "vary": {"design": ["monolithic"]}}
EXPLORE = {"experiment": "e", "kind": "explore", "vary": {"design": ["monolithic"]}}
LOCKSTEP = {"experiment": "l", "kind": "lockstep", "vary": {"commands": ["snapshots"]}}
CRASH = {"experiment": "c", "kind": "crash", "vary": {"design": ["live"], "point": [1]}}
BUILT_IN = {"proposal": (ROOT / "specs/designs/machine-snapshot.yaml").read_text()}
TEXTS = {
    "/x/own.yaml": "design: own\ninstructions: [{name: stop, does: PauseGuest}]",
    "/x/broken.yaml": "design: broken\ninstructions: [{name: stop, does: PausGuest}]",
    "/x/two.yaml": (ROOT / "specs/examples/one-disk.yaml").read_text(),
    "/x/two.json": (ROOT / "specs/examples/one-disk.facts.json").read_text(),
}


def text_of(path):
    if path not in TEXTS:
        raise BadInput.of(Problem("file-unreadable", path, "it is not there"))
    return TEXTS[path]


def read(plain, texts=text_of):
    text = plain if isinstance(plain, str) else json.dumps(plain)
    return read_experiment(text, "/x/file.yaml", tuple(BUILT_IN), texts, BUILT_IN.__getitem__)


def problems(plain):
    with pytest.raises(BadInput) as caught:
        read(plain)
    return {problem.subject: str(problem) for problem in caught.value.problems}


def varied(base, **more):
    vary = {**base["vary"], **{key.replace("_", "-"): value for key, value in more.items()}}
    return {**base, "vary": vary}


@pytest.mark.parametrize(
    ("plain", "subject", "words"),
    [
        ([], "the file", "must be a mapping"),
        ({"experiment": "a"}, "kind", "is missing"),
        ({**MEASURE, "kind": "measur"}, "kind", "must be one of: measure, explore"),
        ({**MEASURE, "repat": 3}, "repat", "did you mean repeat?"),
        ({**MEASURE, "disks": [1]}, "disks", "it stands under `vary`"),
        ({**MEASURE, "request": "two.yaml"}, "request", "it is for `kind: explore`"),
        ({**MEASURE, "vary": 1}, "vary", "must be a mapping"),
        ({**MEASURE, "experiment": ""}, "experiment", "must be a name"),
        ({**MEASURE, "about": 1}, "about", "must be a text"),
        ({**MEASURE, "repeat": True}, "repeat", "must be a whole number from 1 to 100"),
        ({**MEASURE, "seed": -1}, "seed", "must be a whole number"),
        ({**MEASURE, "accelerator": "xen"}, "accelerator", "must be one of: tcg, kvm"),
        (varied(MEASURE, disc=[1]), "vary: disc", "did you mean disks?"),
        (varied(MEASURE, faults=["one"]), "vary: faults", "it is for `kind: explore`"),
        (varied(MEASURE, disks=[]), "vary: disks", "a list of at least one value"),
        (varied(MEASURE, disks=3), "vary: disks", "a list of at least one value"),
        (varied(MEASURE, disks=[0]), "vary: disks", "0 is no whole number from 1 to 250"),
        (varied(MEASURE, disks=[True]), "vary: disks", "True is no whole number"),
        (varied(MEASURE, disks=[2, 2]), "vary: disks", "2 stands twice"),
        (varied(MEASURE, memory_mib=[130]), "vary: memory-mib", "no multiple of 16"),
        (varied(MEASURE, dirty_mib_per_s=["a"]), "vary: dirty-mib-per-s", "'a' is no whole"),
        (varied(MEASURE, qemu=["a"]), "vary: qemu", "a name for each QEMU"),
        (varied(MEASURE, qemu={"a": 1}), "vary: qemu: a", "must be a program"),
        (varied(MEASURE, design=["monolitic"]), "vary: design", "monolitic is no design"),
        (varied(MEASURE, design=["proposal"]), "vary: design", "no QEMU can run one"),
        (varied(EXPLORE, design=["proposa"]), "vary: design", "did you mean proposal?"),
        (varied(EXPLORE, design=[1]), "vary: design", "1 is no name of a design"),
        (varied(EXPLORE, design=["./gone.yaml"]), "/x/gone.yaml", "it is not there"),
        (varied(EXPLORE, design=["broken.yaml"]), "instruction stop: does", "did you mean"),
        (varied(EXPLORE, faults=["three"]), "vary: faults", "'three' is none of: none, one, two"),
        (varied(EXPLORE, client_death=["no"]), "vary: client-death", "'no' is none of"),
        (varied(EXPLORE, pause_at_most=["x"]), "vary: pause-at-most", "'x' is none of: nothing"),
        (varied(EXPLORE, monitor_answers=["no"]), "vary: monitor-answers", "neither true nor"),
        (varied(EXPLORE, other_clients=[1]), "vary: other-clients", "1 is neither true nor"),
        (varied(EXPLORE, disks=[13]), "vary: disks", "from 1 to 12"),
        (varied(LOCKSTEP, disks=[1]), "vary: disks", "it is for `kind: measure`"),
        (varied(CRASH, point=[0]), "vary: point", "from 1 to 1000"),
        (varied(CRASH, point=5), "vary: point", "a range such as {from: 1"),
        (varied(CRASH, dies=["qemu"]), "vary: dies", "'qemu' is none of"),
        (varied(CRASH, design=["proposal"]), "vary: design", "no QEMU can run one"),
        ({**CRASH, "vary": {"design": ["live"]}}, "vary: point", "a list of at least one value"),
        (varied(LOCKSTEP, commands=["copy"]), "vary: commands", "'copy' is none of"),
        (varied(LOCKSTEP, length=[0]), "vary: length", "from 1 to 1000"),
        (varied(LOCKSTEP, length={"from": 1, "to": 2}), "vary: length", "a list of at least one"),
        (varied(LOCKSTEP, sequence_seed=3), "vary: sequence-seed", "a range such as {from: 1"),
        (varied(LOCKSTEP, sequence_seed={"from": 3, "to": 2}), "vary: sequence-seed", "a range"),
        (varied(LOCKSTEP, sequence_seed={"from": 3}), "vary: sequence-seed", "a range"),
        (varied(LOCKSTEP, sequence_seed={"from": True, "to": 2}), "vary: sequence-seed", "a range"),
        (
            varied(LOCKSTEP, sequence_seed={"from": 0, "till": 2}),
            "vary: sequence-seed: till",
            "known",
        ),
        (
            varied(LOCKSTEP, sequence_seed={"from": 0, "to": 10**9}),
            "vary: sequence-seed",
            "a range",
        ),
        (varied(LOCKSTEP, sequence_seed={"from": -1, "to": 2}), "vary: sequence-seed", "-1 is no"),
        ({**EXPLORE, "repeat": 2}, "repeat", "comes to the same each time"),
        ({**EXPLORE, "facts": "two.json"}, "request", "is missing"),
        (
            {**varied(EXPLORE, disks=[1]), "request": "two.yaml", "facts": "two.json"},
            "vary: disks",
            "the facts say which disks there are",
        ),
        ({**EXPLORE, "request": "two.json", "facts": "two.json"}, "tag", "missing"),
        (
            {**varied(MEASURE, disks=list(range(1, 251))), "repeat": 100},
            "vary",
            "25000 cases are more than 20000",
        ),
    ],
)
def test_what_is_wrong_is_told_by_its_key(plain, subject, words):
    """A typo, a wrong value, a key of the other kind, a file that is not there."""
    found = problems(plain)
    assert words in found[subject], found


def test_a_problem_has_its_line_and_all_are_told_at_once():
    """Whoever mends the file mends it once."""
    text = "experiment: a\nkind: measure\nvary:\n  design: [monolithic]\n  disks: [0]\nsede: 1\n"
    found = problems(text)
    assert "(line 5)" in found["vary: disks"]
    assert "(line 6)" in found["sede"]


def test_a_key_that_stands_twice_is_refused():
    """YAML would take the last one."""
    found = problems("experiment: a\nexperiment: b\nkind: measure\nvary: {design: [live]}\n")
    assert "twice" in found["experiment"]


def test_paths_are_of_the_files_folder_and_names_of_path():
    """So that a file means the same wherever one stands."""
    found = read(varied(MEASURE, qemu={"own": "build/qemu", "there": "/q", "here": "qemu"}))
    assert found.binaries == {"own": "/x/build/qemu", "there": "/q", "here": "qemu"}
    assert read(varied(EXPLORE, design=["./own.yaml"])).designs["./own.yaml"].startswith("design")


def test_a_case_is_known_by_all_that_decides_what_it_does():
    """The values, the round, the design's text, the QEMU's version; not the seed, nor the about."""
    base = varied(MEASURE, disks=[1, 2])
    ids = {case.id for case in cases_of(read(base), {})}
    assert len(ids) == 2
    same = {**base, "seed": 7, "about": "other words", "repeat": 1}
    assert {case.id for case in cases_of(read(same), {})} == ids
    assert {case.id for case in cases_of(read({**base, "repeat": 2}), {})} > ids
    for other, versions in (
        (base, {"qemu-system-x86_64": "9.9"}),
        ({**base, "accelerator": "kvm"}, {}),
        (varied(base, memory_mib=[256]), {}),
    ):
        assert not ids & {case.id for case in cases_of(read(other), versions)}
    design = read(varied(EXPLORE, design=["own.yaml"]))
    changed = read(
        varied(EXPLORE, design=["own.yaml"]), lambda path: TEXTS[path] + "\nclient: careful"
    )
    assert {case.id for case in cases_of(design, {})}.isdisjoint(
        case.id for case in cases_of(changed, {})
    )


def test_a_range_is_its_numbers():
    """The first and the last among them; and a longer one has the cases of a shorter one."""
    found = read(varied(LOCKSTEP, sequence_seed={"from": 3, "to": 6}))
    assert found.vary["sequence-seed"] == (3, 4, 5, 6)
    listed = read(varied(LOCKSTEP, sequence_seed=[3, 4]))
    ids = {case.id for case in cases_of(listed, {})}
    assert ids < {case.id for case in cases_of(found, {})}


def test_each_round_has_every_case_in_an_order_of_chance():
    """What drifts meets all designs alike; the seed repeats the order."""
    plain = {
        **varied(MEASURE, disks=[1, 2, 3], design=["monolithic", "transactional"]),
        "repeat": 5,
    }

    def order(seed):
        cases = cases_of(read({**plain, "seed": seed}), {})
        assert [case.round for case in cases] == [each for each in range(1, 6) for _ in range(6)]
        return [case.id for case in cases]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert sorted(order(1)) == sorted(order(2))
    assert len({tuple(each[:16] for each in order(1)[at : at + 6]) for at in range(0, 30, 6)}) > 1


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_experiments_by_the_schema_too(path):
    """What the schema says of a file, and what reads it, agree."""
    plain = yaml.safe_load(path.read_text())
    validator("experiment-file").validate(plain)
    assert plain["experiment"] == path.stem
    assert set(plain["vary"]) <= set(AXES[plain["kind"]])


@pytest.mark.parametrize("base", [MEASURE, EXPLORE, LOCKSTEP, CRASH])
def test_the_schema_knows_the_same_keys(base):
    """Every axis and key that is read, and no other."""
    (schema,) = (
        each
        for each in validator("experiment-file").schema["oneOf"]
        if each["properties"]["kind"]["const"] == base["kind"]
    )
    kind = read(base).kind
    assert set(schema["properties"]["vary"]["properties"]) == set(AXES[kind])
    assert set(read(base).vary) == {*AXES[kind]} - {*ASKED}
    known = problems({**base, "unknown-key": 1})["unknown-key"]
    assert known.split("known are: ")[1].rstrip(")").split(", ") == [
        *("experiment", "about", "kind", "repeat", "seed", "time-limit-s", "vary"),
        *(key for key in schema["properties"] if key in ("accelerator", "request", "facts")),
    ]
