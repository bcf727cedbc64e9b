"""Keys of a trial's reports, apart from its metrics."""

# Error line of a trial that failed in a way that a retry cannot fix.
FAILED = "failed"
# Error line, reported once, of a trial that continued with half the micro-batch after it ran out of GPU memory.
HALVED = "halved"
# Reason why this node cannot run trials, or why the storage cannot be written to. Not the trial's fault.
UNFIT = "unfit"
# Score by which Ray keeps a trial's best checkpoint beside its last one: the epoch if it is the best so far, else 0.
CHECKPOINT_RANK = "checkpoint_rank"
# Name of the device that a reported latency was measured on.
MEASURED_ON = "measured_on"
