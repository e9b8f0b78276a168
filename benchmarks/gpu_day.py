"""For a GPU that is there for minutes: everything, in the order of what must be known first.

    python benchmarks/gpu_day.py --prepare --songs MIDI_FOLDER ...   on a machine with the project's packages
    python benchmarks/gpu_day.py --out FOLDER                        on a machine with a Hopper GPU, JAX and PyTorch
    python benchmarks/gpu_day.py --out FOLDER --second               later: what the first had no time for
    python benchmarks/gpu_day.py --out FOLDER --rehearse             on any machine: tiny, the kernels interpreted

The project need not be installed there. --prepare makes the folder --carried anew: wheels of packages that such a
machine lacks (for its Python, --python), rows of songs and a prepared dataset. --from STAGE goes on where an earlier
command stopped, --only STAGE ... runs these alone. FOLDER then holds findings.jsonl (a line as each thing is known),
log (what all stages said), metrics.jsonl of the training and its checkpoint in pieces: `cat FOLDER/run.tar.gz.* | tar
xz` makes it a run again. The run itself stays among the machine's temporary files, and the next command with the same
FOLDER that is told where to begin, or is the --second, trains on. The exit status is 1 where anything failed.
"""

import argparse
import hashlib
import json
import math
import re
import shlex
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import attention
import stages
from stages import ROOT

sys.path.insert(0, str(ROOT))
from gpu.carried import find_variants, prepare

from configs import InputError
from tokenizer.disk.lock import only_writer


@dataclass(frozen=True)
class Stage:
    """seconds: at most, of what is left. kept: those that no stage before it may take, but for the first. wrong: run
    only where a kernel alone was wrong. grace: seconds to save in, at the end of its time. What stands in braces is
    filled in: a text as one word, a tuple as so many.
    """

    name: str
    seconds: int
    command: str
    kept: int = 0
    wrong: bool = False
    grace: float = stages.GRACE_SECONDS


SMOKE = "{python} benchmarks/gpu/smoke.py --findings {findings} {interpret}"
STEP = "{python} benchmarks/train_step.py --rows {rows} --findings {findings} --steps {steps} --case"
OURS = "{python} benchmarks/attention_ours.py {rows} {findings}"
FLEX = "{python} benchmarks/attention_torch.py {rows} {findings}"
TRAIN = (
    "{python} -m jax_impl.cli train --data-dir {songs} --output-dir {run} --attention {attention} {training} "
    "--schedule wsd --validate-every 100 --checkpoint-every 500 --validation-batches 2"
)
UNFILLED = "env XLA_PYTHON_CLIENT_PREALLOCATE=false "  # a tool that looks at memory need not look at all of it
NCU = UNFILLED + "ncu --set full --clock-control none -k regex:block_sparse "
BRING_BACK = "{python} benchmarks/gpu/bring_back.py {run} {out}"

FIRST = (
    Stage("machine", 60, "{python} benchmarks/gpu/machine.py {findings}"),
    Stage("forward", 50, SMOKE + " 'forward bfloat16' 'forward float32'"),
    Stage("dq", 50, SMOKE + " 'dq bfloat16' 'dq float32'"),
    Stage("dkv", 50, SMOKE + " 'dkv bfloat16' 'dkv float32'"),
    Stage("sanitizer", 60, UNFILLED + "compute-sanitizer --tool memcheck " + SMOKE + " {suspect}", wrong=True),
    Stage("check", 90, "{python} benchmarks/attention_check.py {rows} {findings} --rules {checked}"),
    Stage("ours", 130, OURS + " --lengths {length}"),
    Stage("flex", 120, FLEX + " bf16 {length}"),
    Stage("step large", 110, STEP + " {large}"),
    Stage("step small", 70, STEP + " {small}"),
    Stage("step torch", 80, STEP + " {torch}"),
    Stage("train", 600, TRAIN, kept=90, grace=20),
    Stage("bring back", 60, BRING_BACK, kept=40),
)
SECOND = (
    Stage("variants", 300, ""),  # two stages for each folder: see variant_stages
    Stage("ncu", 90, NCU + OURS + " --lengths {length} --once"),
    Stage("ours longer", 150, OURS + " --lengths {longer}"),
    Stage("flex fp32", 150, FLEX + " fp32 {length}"),
    Stage("flex longer", 150, FLEX + " bf16 {longer}"),
    Stage("step torch fp32", 110, STEP + " {torch fp32}"),
    Stage("train", 600, TRAIN, kept=60, grace=20),
    Stage("bring back", 60, BRING_BACK, kept=40),
)
REAL: dict[str, str | tuple] = {
    "interpret": (),
    "checked": ("span", "v121"),
    "length": "8192",
    "longer": ("2048", "16384", "24576"),
    "large": '["ours", "large", 4, 8192]',
    "small": '["ours", "small", 16, 8192]',
    "torch": '["torch bf16", "large", 4, 8192]',
    "torch fp32": '["torch fp32 attention", "large", 4, 8192]',
    "steps": "10",
    "training": tuple("--model-size small --max-seq-len 8192 --batch-size 8 --steps 100000 --warmup-steps 100".split()),
}
REHEARSED: dict[str, str | tuple] = {
    "interpret": "--interpret",
    "checked": "span",
    "length": "256",
    "longer": "512",
    "large": '["ours", "tiny", 1, 256]',
    "small": '["ours", "tiny", 2, 256]',
    "torch": '["torch fp32", "tiny", 1, 256]',
    "torch fp32": '["torch fp32", "tiny", 1, 256]',
    "steps": "3",
    "training": tuple("--model-size tiny --max-seq-len 256 --batch-size 2 --steps 6 --num-workers 0".split()),
}
SLOWER = 3  # a rehearsal, on a few cores
LEAST_SECONDS = 12  # a stage is not begun with less


# ---------------------------------------------------------------- the stages


class Day:
    """One command's run through a table of stages."""

    def __init__(self, args: argparse.Namespace, scratch: Path):
        self.began, self.seconds, self.rehearse = time.monotonic(), args.seconds, args.rehearse
        self.out, self.scratch = args.out, scratch
        self.findings, self.log = args.out / "findings.jsonl", args.out / "log"
        self.site, self.carried = scratch / "site", args.carried
        self.ended: dict[str, str] = {}
        self.fill = (REHEARSED if args.rehearse else REAL) | {
            "python": sys.executable,
            "findings": str(self.findings),
            "rows": str(args.carried / "rows.npz"),
            "songs": str(scratch / "songs"),
            "run": str(scratch / "run"),
            "out": str(args.out),
            "attention": "auto" if args.rehearse else "pallas",
        }

    def left(self) -> float:
        return self.seconds - (time.monotonic() - self.began)

    def unpack(self) -> None:
        """What was carried: packages and songs. What cannot be unpacked costs only the stages that need it."""
        wheels = sorted(self.carried.glob("*.whl"))
        if wheels:
            pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile"]
            command = [*pip, "--no-cache-dir", "--target", str(self.site), *map(str, wheels)]
            self.verdict("wheels", stages.run(command, 60, stages.environment(), self.log))
        try:
            with tarfile.open(self.carried / "songs.tar.gz") as tar:
                tar.extractall(self.scratch, filter="data")
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            self.verdict("songs", f"died: {error}; --prepare makes them")

    def words(self, command: str) -> list[str]:
        """Of a stage's command."""
        quoted = {
            name: shlex.quote(value) if isinstance(value, str) else shlex.join(value)
            for name, value in self.fill.items()
        }
        return shlex.split(re.sub(r"\{([a-z ]+[0-9]*)\}", lambda name: quoted[name[1]], command))

    def run(self, stage: Stage, kept: float, first: Sequence[Path] = ()) -> None:
        """kept: seconds that later stages need. first: folders whose packages go before all others."""
        seconds = min(stage.seconds * (SLOWER if self.rehearse else 1), self.left() - kept)
        if seconds < LEAST_SECONDS:
            return self.verdict(stage.name, "no time was left")
        print(f"== {stage.name}: at {time.monotonic() - self.began:.0f} s, {seconds:.0f} s at most", flush=True)
        size = self.write_log(f"\n== {stage.name}\n")
        environment = stages.environment(*first, self.site)
        self.verdict(stage.name, stages.run(self.words(stage.command), seconds, environment, self.log, stage.grace))
        said = self.log.read_bytes()[size:].decode(errors="replace").splitlines()
        print(*said[-25:], sep="\n", flush=True)

    def write_log(self, text: str) -> int:
        """Its size then."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(text)
            return file.tell()

    def verdict(self, name: str, how: str) -> None:
        self.ended[name] = how
        print(f"== {name}: {how}", flush=True)
        stages.tell(self.findings, "stages", name, value=how)

    def suspects(self) -> list[str]:
        """Of the cases of smoke.py that were begun by a stage here, those that were wrong, or that nothing was heard
        of; bf16, in which models are trained, first.
        """
        alone = stages.told(self.findings).get("each kernel alone", {}).get("ours", {})
        kernels = [name for name in ("forward", "dq", "dkv") if name in self.ended]
        cases = [f"{kernel} {dtype}" for dtype in ("bfloat16", "float32") for kernel in kernels]
        return [case for case in cases if not alone.get(case, {}).get("right")]

    def follow(self, table: Sequence[Stage], variants: Sequence[Path]) -> None:
        """variants: folders with a jax_impl each."""
        for number, stage in enumerate(table):
            kept = sum(later.kept for later in table[number + 1 :]) if number else 0.0
            suspects = self.suspects()
            if stage.wrong and not suspects and not self.rehearse:
                continue
            self.fill["suspect"] = next(iter(suspects), "forward bfloat16")
            if stage.name == "variants":
                for variant in variants:
                    self.fill |= {"variant": variant.name, "ours": f"ours, {variant.name}"}
                    for part in variant_stages(variant.name):
                        self.run(part, kept, [variant])
                continue
            if any(case.endswith("bfloat16") for case in suspects):  # training still runs without the kernels
                self.fill["attention"] = "xla"
            self.run(stage, kept)
            if stage.name == "machine" and not self.rehearse and self.ended["machine"].startswith("died"):
                raise SystemExit("JAX sees no Hopper GPU here; what it said is in the log")

    def keep_metrics(self) -> None:
        if (self.scratch / "run" / "metrics.jsonl").exists():
            shutil.copy(self.scratch / "run" / "metrics.jsonl", self.out)


def variant_stages(name: str) -> tuple[Stage, ...]:
    """Of another jax_impl: is it right, and how fast is it?"""
    return (
        Stage(
            f"variant {name}: smoke", 60, SMOKE + " --name={variant} 'forward bfloat16' 'dq bfloat16' 'dkv bfloat16'"
        ),
        Stage(f"variant {name}: ours", 90, OURS + " --lengths {length} --name={ours}"),
    )


# ---------------------------------------------------------------- the end


def table(results: dict) -> str:
    """In short what was found."""
    lines = [f"{name:16} {how}" for name, how in results.get("stages", {}).items()]
    for name, cases in results.get("each kernel alone", {}).items():
        lines += [f"{name}, {case}: {json.dumps(found)}" for case, found in cases.items()]
    lines += [f"{name}: {json.dumps(found)}" for name, found in results.get("train step", {}).items()]
    goals = json.dumps(results.get("goals", {}), indent=1)
    return "\n".join([*lines, "", attention.table(results), goals, *results["failed"]])


def command() -> int:
    """The exit status. Raises InputError, and OSError where nothing can be written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for all that is found")
    parser.add_argument("--carried", type=Path, default=ROOT / ".whl", help="folder of what --prepare made")
    parser.add_argument("--prepare", action="store_true", help="make that folder")
    parser.add_argument("--songs", type=Path, nargs="+", help="folders of MIDI files, to prepare")
    parser.add_argument("--python", default="3.12", help="version of the other machine's, to prepare wheels for")
    parser.add_argument("--seconds", type=float, default=560, help="for everything")
    parser.add_argument("--second", action="store_true", help="the second table of stages")
    parser.add_argument("--rehearse", action="store_true", help="tiny, without a GPU, all stages")
    parser.add_argument("--from", dest="begin", metavar="STAGE", help="begin with this stage")
    parser.add_argument("--only", nargs="+", metavar="STAGE", help="run these stages")
    parser.add_argument("--variants", type=Path, help="folder of folders that hold another jax_impl each")
    args = parser.parse_args()
    args.carried = args.carried.resolve()
    if args.prepare:
        if args.songs is None:
            parser.error("--prepare needs --songs")
        prepare(args.carried, [folder.resolve() for folder in args.songs], args.python)
        return 0
    if args.out is None or not str(args.out).strip("."):
        parser.error("--out is needed: a folder for what is found")
    if not (math.isfinite(args.seconds) and args.seconds >= 2 * LEAST_SECONDS):
        parser.error(f"--seconds {args.seconds:g}: {2 * LEAST_SECONDS} at least")
    stages_here = SECOND if args.second else FIRST
    names = [stage.name for stage in stages_here]
    for name in [*(args.only or []), *([args.begin] if args.begin else [])]:
        if name not in names:
            parser.error(f"there is no stage {name!r}; there are {', '.join(names)}")
    if args.begin:
        stages_here = stages_here[names.index(args.begin) :]
    if args.only:
        stages_here = [stage for stage in stages_here if stage.name in args.only]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # so that the stage that runs is ended, and may save
        signal.signal(number, lambda number, _: sys.exit(f"stopped by {signal.Signals(number).name}"))
    args.out = args.out.resolve()
    variants = find_variants(args.variants or args.carried / "variants", bool(args.variants)) if args.second else []
    args.out.mkdir(parents=True, exist_ok=True)
    with only_writer(args.out):
        return spend(args, stages_here, variants)


def spend(args: argparse.Namespace, table_of_stages: Sequence[Stage], variants: Sequence[Path]) -> int:
    """The exit status."""
    (args.out / "findings.jsonl").touch()
    scratch = Path(tempfile.gettempdir()) / f"gpu-day-{hashlib.sha256(bytes(args.out)).hexdigest()[:12]}"
    kept = ["run"] if args.second or args.begin or args.only else []
    for path in scratch.glob("*"):  # of a command before
        if path.name not in kept:
            shutil.rmtree(path)
    scratch.mkdir(exist_ok=True)
    day = Day(args, scratch)
    try:
        day.unpack()
        day.follow(table_of_stages, variants)
    finally:
        day.keep_metrics()
        results = attention.collect(day.findings, {})
        print(table(results))
        if (scratch / "run").exists():
            print(f"the run itself stays in {scratch / 'run'}")
    return int(bool(results["failed"]) or any(how.startswith("died") for how in day.ended.values()))


if __name__ == "__main__":
    try:
        sys.exit(command())
    except (OSError, InputError) as error:
        sys.exit(f"error: {error}")
