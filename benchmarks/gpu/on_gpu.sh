#!/usr/bin/env bash
# Everything for a Hopper GPU that is there for ten minutes, in the order of what must be known first:
#
#     OUT=FOLDER bash benchmarks/gpu/on_gpu.sh [GPU_FOLDER]
#
# GPU_FOLDER (.whl) holds wheels of packages that the machine lacks, rows.npz (benchmarks/attention.py --prepare makes
# it) and songs, a prepared dataset. Every stage has its cap and takes no more than what is left of GPU_SECONDS (560);
# results go to $OUT as they come. Never run on a GPU yet.
set -u
cd "$(dirname "$0")/../.."
: "${OUT:?names the folder for results}"
given=${1:-.whl}
begin=$SECONDS
end=${GPU_SECONDS:-560}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PYTHONUNBUFFERED=1 PYTHONPATH=$scratch/site:$PWD:$PWD/benchmarks
wheels=$(find "$given" -maxdepth 1 -name '*.whl')
# shellcheck disable=SC2086 # one word a wheel
[ -z "$wheels" ] || python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$scratch/site" $wheels

stage() { # stage NAME CAP COMMAND...
    name=$1 cap=$2
    shift 2
    left=$((end - SECONDS + begin))
    [ $left -lt "$cap" ] && cap=$left
    [ "$cap" -lt 15 ] && { echo "== $name: no time"; return 1; }
    echo "== $name at $((SECONDS - begin)) s, cap $cap s"
    timeout -k 5 "$cap" "$@" 2>&1 | tee -a "$OUT/log" | tail -n 60
    status=${PIPESTATUS[0]}
    echo "== $name ended with $status at $((SECONDS - begin)) s"
    return "$status"
}

train() { # train ATTENTION
    stage "train $1" 90 python3 -m jax_impl.cli train --data-dir "$given/songs" --output-dir "$scratch/run" \
        --attention "$1" --model-size small --max-seq-len 2048 --batch-size 16 --steps 60 --warmup-steps 20 --log-every 5 \
        --validate-every 60 --checkpoint-every 60 --validation-batches 2
    cp "$scratch/run/metrics.jsonl" "$OUT/" 2>/dev/null
}

nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.max.sm,power.limit --format=csv
if ! stage smoke 75 python3 benchmarks/gpu/smoke.py; then
    for kernel in forward dq dkv; do # which of them hangs or is wrong
        stage "alone $kernel" 40 python3 benchmarks/gpu/smoke.py "$kernel bfloat16"
    done
    stage sanitizer 90 compute-sanitizer --tool memcheck python3 benchmarks/gpu/smoke.py "forward bfloat16"
    train xla # trains without the kernels, too
    exit 1
fi
: >"$OUT/findings"
rows=$given/rows.npz
stage check 90 python3 benchmarks/attention_check.py "$rows" "$OUT/findings"
stage ours 110 python3 benchmarks/attention_ours.py "$rows" "$OUT/findings"
stage flex 110 python3 benchmarks/attention_torch.py "$rows" "$OUT/findings" bf16
stage step 140 python3 benchmarks/train_step.py --rows "$rows" --steps 8 --case '["ours", "large", 4, 8192]'
train pallas
