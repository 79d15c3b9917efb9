#!/usr/bin/env python3
"""Prints the results of weir_bench as the tables of docs/performance.md: tables.py RESULTS.json"""

import json
import sys

PARTS = ("job", "threads", "handlers", "depth", "work_ns", "collection", "phase", "load_percent", "promise", "clock")
TITLES = {
    "ns_per_event": "ns an event",
    "ns_per_value": "ns a value",
    "bytes": "bytes",
    "resident_bytes": "resident bytes",
    "given_back": "given back",
    "resident_given_back": "of what was resident",
    "trimmed_given_back": "after malloc_trim",
    "p50_ns": "p50, ns",
    "p99_ns": "p99, ns",
    "p999_ns": "p99.9, ns",
    "post_p50_ns": "a post, p50, ns",
    "p50_posts": "p50, posts",
    "p99_posts": "p99, posts",
    "p999_posts": "p99.9, posts",
    "post_p999_posts": "a post, p99.9, posts",
    "p99_runs": "p99, runs",
    "p99_in_way": "p99 of handlers in the way",
    "p99_beyond_runs": "p99 besides, runs",
    "low_p50_ns": "low, p50, ns",
    "low_p99_ns": "low, p99, ns",
    "low_p999_ns": "low, p99.9, ns",
    "urgent_mean_ns": "urgent, mean, ns",
    "urgent_p99_ns": "urgent, p99, ns",
    "low_mean_ns": "low, mean, ns",
    "stuck": "stuck",
    "completed": "completed",
    "given_up": "given up",
    "good_per_s": "in time, a second",
    "urgent_good": "urgent ones in time",
    "low_good": "low ones in time",
    "handled": "handled",
}


def short(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(result, figure):
    if result is None:
        return "–"
    if result.get("absent"):
        return "absent"
    spread = result[figure]
    text = short(spread["median"])
    if short(spread["min"]) != short(spread["max"]):
        text += f" ({short(spread['min'])} – {short(spread['max'])})"
    return text


def ratio(result):
    return f"{short(result['ratio']['median'])} ×" if result and "ratio" in result else "–"


def allocations(result):
    value = result.get("allocs_per_event") if result else None
    return "–" if value is None else "0" if value < 0.005 else short(value)


def part_name(part):
    fields = dict(part)
    if "handlers" in fields:
        threads = "on one thread" if fields["threads"] == 1 else "to another thread"
        return f"publish {threads}, {fields['handlers']} handler{'s' if fields['handlers'] > 1 else ''}"
    if "depth" in fields:
        name = "a handler publishes the next" if fields["job"] == "depth" else "pop and push of the bare queue"
        return f"{name}, depth {fields['depth']:,}"
    if fields.get("job") == "burst":
        return "a burst of 1,000,000"
    if "job" in fields:
        threads = "one thread" if fields["threads"] == 1 else "two threads"
        return f"{fields['job'].replace('_', ' ')}, {threads}"
    if "load_percent" in fields:
        return f"{fields['load_percent']} %, {fields['clock']} time"
    if "promise" in fields:
        return fields["promise"]
    if "phase" in fields:
        return f"{fields['phase']}, {fields['clock']} time"
    if "work_ns" in fields:
        return f"{fields['work_ns']} ns of work, into a {fields['collection']}"
    return ""


def print_bystander(results):
    beside = [result for result in results if "bystander" in result]
    if not beside:
        return
    print("| beside it a bystander | payload | its turns a ms | its longest gap, µs | by the machine alone, µs |")
    print("|---|---|---|---|---|")
    for result in beside:
        figures = result["bystander"]
        name = f"{result['subject']} {result['variant']}".strip().replace("_", " ")
        cells = [f"**{name}**" if result["subject"] == "weir" else name, result["payload"]]
        cells += [cell(figures, figure) for figure in ("turns_per_ms", "longest_gap_us", "longest_gap_by_machine_us")]
        print("| " + " | ".join(cells) + " |")
    print()


def print_part(results, part):
    rows = {}
    for result in results:
        rows.setdefault((result["subject"], result["variant"]), {})[result["payload"]] = result
    shown = [payloads for payloads in rows.values() if not all(r.get("absent") for r in payloads.values())]
    first = next(iter(shown[0].values()))
    figures = [figure for figure in TITLES if figure in first]
    to = first["ratio"]["to"] if "ratio" in first else None
    of = TITLES[first["ratio"]["of"]].removesuffix(", ns") + " " if to and "of" in first["ratio"] else ""

    both = any("p64" in payloads for payloads in rows.values())
    titles = [part_name(part)]
    for figure in figures:
        titles += [f"{TITLES[figure]}, u64", "p64"] if both else [TITLES[figure]]
    if to:
        titles += [f"{of}to {to.replace('_', ' ')}, u64", "p64"] if both else [f"{of}to {to.replace('_', ' ')}"]
    titles += ["allocations an event"]
    print("| " + " | ".join(titles) + " |")
    print("|---" + "|---" * (len(titles) - 1) + "|")
    for (subject, variant), payloads in rows.items():
        if payloads not in shown:
            continue
        u64, p64 = payloads.get("u64"), payloads.get("p64")
        name = f"{subject} {variant}".strip().replace("_", " ")
        cells = [f"**{name}**" if subject == "weir" else name]
        for figure in figures:
            cells += [cell(u64, figure), cell(p64, figure)] if both else [cell(u64, figure)]
        if to:
            cells += [ratio(u64), ratio(p64)] if both else [ratio(u64)]
        cells += [allocations(u64)]
        print("| " + " | ".join(cells) + " |")
    for (subject, variant), payloads in rows.items():
        if payloads not in shown:
            why = next(iter(payloads.values()))["why"]
            print(f"\n{subject} is absent: {why}.")
    print()
    print_bystander(results)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        document = json.load(file)
    machine = document["machine"]
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['compiler']}, Asio {machine['asio']}.\n")
    parts = {}
    for result in document["results"]:
        part = tuple((key, result[key]) for key in PARTS if key in result)
        parts.setdefault(result["id"], {}).setdefault(part, []).append(result)
    for workload, of_workload in parts.items():
        print(f"### {workload}\n")
        for part, results in of_workload.items():
            print_part(results, part)


if __name__ == "__main__":
    main()
