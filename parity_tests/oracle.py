"""The attention rule a third time, as loops and nothing else: too slow for anything but judging the other two."""

import numpy as np

from configs import MaskRule


def masks(row: dict[str, list[int]], rule: MaskRule, slots: int) -> tuple[np.ndarray, np.ndarray]:
    """(summarize bool[slots, slots + T], update bool[T, slots + T]) of one row of token fields."""
    length = len(row["document"])
    pools, owner, visible = summaries(row, rule)
    summarize = np.zeros((slots, slots + length), bool)
    update = np.zeros((length, slots + length), bool)
    for i in range(len(owner)):
        for j in range(len(owner)):
            summarize[i, j] = owner[i] == owner[j] and j <= i
        for k in range(length):
            summarize[i, slots + k] = k in pools[i]
    for q in range(length):
        for j in range(len(owner)):
            update[q, j] = row["document"][q] != 0 and row["document"][q] == owner[j] and j < visible[q]
        for k in range(length):
            update[q, slots + k] = sees(row, q, k, rule)
    return summarize, update


def summaries(row: dict[str, list[int]], rule: MaskRule) -> tuple[list[set[int]], list[int], list[int]]:
    """Which tokens each summary pools, which document it belongs to, and below which summary each token sees them."""
    length = len(row["document"])
    pools: list[set[int]] = []
    owner: list[int] = []
    visible = [0] * length
    if rule.scope == "span":
        for number in range(max(row["span"]) + 1):
            members = {t for t in range(length) if row["span"][t] == number and row["document"][t] != 0}
            pools.append(members)
            owner.append(row["document"][min(members)])
        for t in range(length):
            visible[t] = sum(max(members) < t for members in pools)
    else:
        for document in range(1, max(row["document"]) + 1):
            members = [t for t in range(length) if row["document"][t] == document]
            first = len(pools)
            for bar in range(max(max(row["bar"][t], 0) for t in members) + 1):
                pools.append({t for t in members if max(row["bar"][t], 0) == bar})
                owner.append(document)
            for t in members:
                visible[t] = first + max(row["bar"][t], 0)
    return pools, owner, visible


def sees(row: dict[str, list[int]], q: int, k: int, rule: MaskRule) -> bool:
    """Does token q see token k?"""
    if row["document"][q] == 0 or row["document"][q] != row["document"][k]:
        return False
    if k > q:
        return False
    return reaches(row, q, k, rule) and (not rule.typed or fits(row, q, k))


def reaches(row: dict[str, list[int]], q: int, k: int, rule: MaskRule) -> bool:
    if row["bar"][k] == -1 or row["instrument"][k] == 129:
        return True
    if row["instrument"][q] == 129:
        return False
    if row["instrument"][q] == row["instrument"][k]:
        return True
    back = row["bar"][q] - row["bar"][k]
    return 0 <= back <= rule.near_bars or back in rule.far_offsets


TABLE = {0: (0, 1), 1: (0, 1), 2: (), 3: (3,)}


def fits(row: dict[str, list[int]], q: int, k: int) -> bool:
    if row["onset"][q] >= 0 and row["onset"][q] == row["onset"][k]:
        return True
    if -1 in (row["kind"][q], row["kind"][k], row["onset"][q], row["onset"][k]):
        return True
    return row["kind"][k] in TABLE[row["kind"][q]]
