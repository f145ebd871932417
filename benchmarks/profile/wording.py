"""The sentences of the results page."""

HEAD = """\
# Profiles, side by side

The same Parquet file, one process and one thread per peer, one after the other on one machine
(`python benchmarks/profile/run.py`, benchmarks/profile/README.md). Of TFDV, whylogs, Evidently and
*Trueup, frame* the time begins when the pandas frame is in memory; *Trueup, file* reads the Parquet
file within its time. Imports are not timed.

- *a window*: one pass that counts rows against a baseline's bins. It is what Trueup does with
  traffic day after day, and what the bars are about: TFDV's and whylogs' profile of a window.
- *a baseline*: everything, from a frame or file of which nothing is known: types and roles, bins
  and vocabularies (the first pass), then the counting pass.
- TFDV: `generate_statistics_from_dataframe(frame, n_jobs=1)`, its fastest way for one job: in
  memory, without Beam. whylogs: `why.log(frame)`. Evidently: `DataDriftPreset`, the first half of
  the rows against the second.
- Peak MB: the process's largest resident memory (VmHWM), imports and the loaded frame included; of
  two processes the largest sum.
- Where a run was repeated, the median by CPU time counts.

![Millions of cells per second](profile.svg)"""

BARS = """\
## The bars

How many times as fast as its peers Trueup was, given the same frame in the same run, by processor
time and by the clock; the bar is on *a window* by both."""

MEMORY = """\
## Memory

100 M rows x 6 columns, profiled from Parquet, both passes (`python benchmarks/profile/memory.py`).
Peaks are VmHWM, with imports. The sum of RSS counts the pages that processes share (libraries) once
per process; the sum of PSS counts them once, and is what the machine gives up: the bar is
{bar} MB of it."""

LIMITS = """\
## What the limit is, and where the time goes

Medians of passes over one million values in arrays of 65,536 rows (`python
benchmarks/profile/limits.py`): first what libraries take for a part of the work, then all that
Trueup's counting pass does for a column."""

LIMITS_READ = """\
Bare moments are no limit that a profile can reach: they are the smaller part of what is asked. A
column of arbitrary fractions is the dearest of numbers. Every value goes through some forty
vectorized passes of 0.3 to 1 ns over data in the second-level cache: nulls and infinities are
sorted out, raw and clipped moments taken, one of 258 bins found (by a grid over the bins, for
binary search would take three times as long as all the rest) and counted, the value hashed for the
count of distinct values. Tried without gain: other sizes of grid and chunk, and the products of
co-moments in one call instead of four. Fewer passes need a fused kernel in compiled code, and with
it a compiler or a wheel per platform.

Columns of small integers, money and measurements are counted in one table from which everything
follows. Strings cost about twice what Arrow's dictionary encoding costs; where nearly every row has
a word of its own, hashing the words costs as much again. Co-moments of all pairs of up to 30
columns come on top: nearly half of their time are matrix products of BLAS, with masks where values
are missing.

TFDV and whylogs count strings in compiled code, too: the more a frame consists of strings of many
values, the smaller is the lead."""
