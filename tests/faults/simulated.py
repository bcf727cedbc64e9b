"""A search with simulated training and everything else real: study, searcher, scheduler and MLflow outbox."""

import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.faults.kills import arm
from tests.searches import check_nothing_lost
from tests.tuning.study.test_steering import EPOCHS, METRIC, Driver
from trainables.core.metric_names import Objective
from tuning.study.storage.open_study import open_study, study_storage
from tuning.tracking.outbox import Tracker
from tuning.tracking.runs import SearchInfo

INJECTED = Counter()  # kills by kind of search


@dataclass(frozen=True)
class Simulated:
    """A search with simulated training.

    Attributes:
        folder: Folder of the study and of MLflow, unless ``url`` or ``server`` is given.
        num_samples: Number of trials.
        concurrent: Number of concurrent trials.
        url: Database of the study.
        server: URI of MLflow.
        space: Name of the MLflow experiment.
        in_step: Send every report before the next one, so that a kill always happens at the same report.
    """

    folder: Path
    num_samples: int
    concurrent: int = 2
    url: str | None = None
    server: str | None = None
    space: str = "space"
    in_step: bool = True

    @property
    def uri(self):
        return self.server or f"sqlite:///{self.folder}/mlflow.db"

    def run(self):
        """Run one session; return the number of reports and the seconds they took, without the final flush."""
        driver = Driver(self.folder, self.num_samples, max_concurrent=self.concurrent, url=self.url)
        tracker = Tracker(driver.study, self.uri, SearchInfo(self.space, "search", "uid", {}, {}))
        live, reports, start = {}, 0, time.monotonic()
        while True:
            while isinstance(started := driver.start(), tuple) and isinstance(started[1], dict):
                trial_id, config = started
                done = int(config["resume_from"][0][-6:]) if config["resume_from"] else 0
                live[trial_id] = (config, done)
            if self.in_step:
                tracker.flush()
            if not live:
                break
            for trial_id, (config, done) in list(live.items()):
                # Trials with odd numbers fall behind. The values do not depend on the session.
                decision = driver.report(trial_id, done + 1, 0.9 - 0.5 * (config["number"] % 2) + 0.001 * done)
                reports += 1
                live[trial_id] = (config, done + 1)
                if decision == "STOP" or done + 1 == EPOCHS:
                    del live[trial_id]
                    driver.searcher.on_trial_complete(trial_id)
        seconds = time.monotonic() - start
        tracker.close("FINISHED")
        return reports, seconds

    def run_in_a_process(self, point=None, nth=0):
        """Run one session in a child process, killed at a point; return the signal that ended it, or 0."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if point:
                    arm(point, nth)
                self.run()
                code = 0
            finally:
                os._exit(code)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        INJECTED["simulated training"] += os.WIFSIGNALED(status)
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0

    def check(self):
        study = open_study(study_storage(self.folder, self.url), "search", Objective(METRIC), EPOCHS, seed=0)
        check_nothing_lost(study, self.uri, self.space, self.num_samples, EPOCHS)
        check_the_better_half_continued(study)


def check_the_better_half_continued(study):
    """Check that no trial which waited at a rung was forgotten: the better half of those that came there went on."""
    for rung in study.pruner.rungs:
        there = [trial for trial in study.trials if rung in trial.intermediate_values]
        best = sorted(there, key=lambda trial: (-trial.intermediate_values[rung], trial.number))
        assert all(trial.last_step > rung for trial in best[: max(len(there) // 2, 1)])
