from pathlib import Path

import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

CLUSTER = Path(__file__).parents[1] / "cluster.yaml"


def test_ray_accepts_it_and_it_runs_the_tested_version():
    config = prepare_config(yaml.safe_load(CLUSTER.read_text()))
    validate_config(config)
    tested = dict(
        line.split("==") for line in (CLUSTER.parent / "constraints.txt").read_text().splitlines() if "==" in line
    )
    assert config["docker"]["image"].startswith(f"rayproject/ray:{tested['ray']}-")
    assert config["available_node_types"]["head"]["resources"]["CPU"] == 0
