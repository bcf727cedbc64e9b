"""``ray up cluster.yaml`` against an EC2 that moto simulates, up to the machines that it asks for."""

import copy
import tempfile
from pathlib import Path

import boto3
import pytest
import yaml
from botocore.session import get_session
from botocore.validate import ParamValidator
from cfnlint import lint
from click.testing import CliRunner
from moto import mock_aws
from ray.autoscaler._private import updater
from ray.autoscaler._private.commands import _bootstrap_config
from ray.autoscaler._private.providers import _get_node_provider
from ray.autoscaler.tags import TAG_RAY_LAUNCH_CONFIG, TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.scripts.scripts import cli

from tuning.ray_backend.gpu_classes import gpu_classes_of

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster.yaml"
STACK = ROOT / "deploy" / "aws.yaml"
CONFIG = yaml.safe_load(CLUSTER.read_text())
KINDS = CONFIG["available_node_types"]


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    """An AWS account in which deploy/aws.yaml was deployed."""
    home = tmp_path_factory.mktemp("home")
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("0" * 64)
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "none")
        patch.setenv("AWS_DEFAULT_REGION", CONFIG["provider"]["region"])
        patch.setenv("HOME", str(home))
        patch.setattr(tempfile, "tempdir", str(home))  # where Ray keeps what it made of the file
        patch.chdir(ROOT)
        boto3.client("cloudformation").create_stack(
            StackName="tune-run", TemplateBody=STACK.read_text(), Capabilities=["CAPABILITY_NAMED_IAM"]
        )
        yield


@pytest.fixture(scope="module")
def ray_up(account):
    """Output of ``ray up``, which ends where the machine that it asked for would have to answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(updater, "AUTOSCALER_NODE_START_WAIT_S", 0)
        return CliRunner().invoke(cli, ["up", "--yes", str(CLUSTER)]).output


@pytest.fixture(scope="module")
def config(ray_up):
    """The file with all that Ray has added."""
    return _bootstrap_config(copy.deepcopy(CONFIG))


def machines(node_type):
    of_type = {"Name": f"tag:{TAG_RAY_USER_NODE_TYPE}", "Values": [node_type]}
    reservations = boto3.client("ec2").describe_instances(Filters=[of_type])["Reservations"]
    return [machine for reservation in reservations for machine in reservation["Instances"]]


def test_cloudformation_takes_the_stack():
    assert lint(STACK.read_text()) == []


@pytest.mark.parametrize("name", KINDS)
def test_ec2_knows_every_key_of_a_node_type(name):
    shape = get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    report = ParamValidator().validate({**KINDS[name]["node_config"], "MinCount": 1, "MaxCount": 1}, shape)
    assert not report.has_errors(), report.generate_report()


def test_the_stack_gives_the_cluster_what_it_names(account):
    iam = boto3.client("iam")
    named = {kind["node_config"]["IamInstanceProfile"]["Name"] for kind in KINDS.values()}
    assert named == {profile["InstanceProfileName"] for profile in iam.list_instance_profiles()["InstanceProfiles"]}
    (output,) = boto3.client("cloudformation").describe_stacks(StackName="tune-run")["Stacks"][0]["Outputs"]
    (bucket,) = boto3.client("s3").list_buckets()["Buckets"]
    assert output["OutputValue"] == f"s3://{bucket['Name']}/searches"


def test_the_head_changes_no_machine_but_its_own(account):
    """Nor makes another's its own by a tag."""
    policy = boto3.client("iam").get_role_policy(RoleName="tune-run-head", PolicyName="autoscaler")["PolicyDocument"]
    statements = yaml.safe_load(policy)["Statement"]  # of moto it is a dict's text
    conditions = [statement.get("Condition", {}).get("StringEquals", {}) for statement in statements]
    grants = [
        (listed(statement["Action"]), condition) for statement, condition in zip(statements, conditions, strict=True)
    ]
    own, new = {"ec2:ResourceTag/ray-cluster-name": CONFIG["cluster_name"]}, {"ec2:CreateAction": "RunInstances"}
    assert [condition for actions, condition in grants if "ec2:CreateTags" in actions] == [new, own]
    anywhere = {action for actions, condition in grants for action in actions if not condition}
    assert {action for action in anywhere if action.startswith("ec2:")} == {"ec2:Describe*", "ec2:RunInstances"}
    assert not any("*" in action for action in anywhere - {"ec2:Describe*"})


def listed(value):
    return value if isinstance(value, list) else [value]


def test_classes_of_memory_are_those_of_the_cards(account):
    """By what AWS says of its machines."""
    for kind in KINDS.values():
        (machine,) = boto3.client("ec2").describe_instance_types(InstanceTypes=[kind["node_config"]["InstanceType"]])[
            "InstanceTypes"
        ]
        cards = [card for card in machine.get("GpuInfo", {}).get("Gpus", []) for _ in range(card["Count"])]
        told = {name: count for name, count in kind["resources"].items() if name != "CPU"}
        assert told == gpu_classes_of(card["MemoryInfo"]["SizeInMiB"] for card in cards)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_ray_up_asks_for_the_head_and_opens_ssh_alone(ray_up):
    assert "Launched a new head node" in ray_up
    assert "wait_ready timeout exceeded" in ray_up
    (head,) = machines("head")
    assert head["InstanceType"] == "m7i.xlarge"
    assert head["IamInstanceProfile"]["Arn"].endswith("/tune-run-head")
    groups = [group["GroupId"] for group in head["SecurityGroups"]]
    (group,) = boto3.client("ec2").describe_security_groups(GroupIds=groups)["SecurityGroups"]
    from_outside = [rule for rule in group["IpPermissions"] if rule["IpRanges"]]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in from_outside] == [(22, 22)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "market"),
    [("l4", "g6.2xlarge", None), ("l4_spot", "g6.2xlarge", "spot"), ("l40s", "g6e.12xlarge", None)],
)
def test_workers_are_asked_for_as_the_file_says(config, name, kind, market):
    provider = _get_node_provider(config["provider"], config["cluster_name"])
    tags = {TAG_RAY_NODE_KIND: "worker", TAG_RAY_USER_NODE_TYPE: name, TAG_RAY_LAUNCH_CONFIG: ""}
    provider.create_node(config["available_node_types"][name]["node_config"], tags, 1)
    (machine,) = machines(name)
    assert (machine["InstanceType"], machine.get("InstanceLifecycle")) == (kind, market)
    assert machine["IamInstanceProfile"]["Arn"].endswith("/tune-run-worker")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trial", "trials", "exhausted", "expected"),
    [
        ({"CPU": 8, "GPU": 1}, 3, (), {"l4_spot": 3}),
        ({"CPU": 8, "GPU": 1}, 4, (), {"l4_spot": 4}),  # would fill a machine with four GPUs, at ten times the price
        ({"CPU": 4, "GPU": 0.5, "gpu_24g": 0.5}, 4, (), {"l4_spot": 2}),
        ({"CPU": 8, "GPU": 1}, 3, ("l4_spot",), {"l4": 3}),
        ({"CPU": 8, "GPU": 1}, 8, ("l4_spot", "l4"), {"l4_spot": 4}),
        ({"CPU": 8, "GPU": 1, "gpu_40g": 1}, 4, (), {}),
    ],
)
def test_which_machines_the_autoscaler_gets_for_waiting_trials(config, trial, trials, exhausted, expected):
    assert launched(config, trial, trials, exhausted) == expected


@pytest.mark.slow
def test_the_expensive_type_starts_for_its_memory_once_it_is_turned_on(config):
    config = copy.deepcopy(config)
    config["available_node_types"]["l40s"]["max_workers"] = 1
    assert launched(config, {"CPU": 8, "GPU": 1, "gpu_40g": 1}, 4) == {"l40s": 1}


def launched(config, trial, trials, exhausted=()):
    """Number of machines of each type that Ray's autoscaler requests for waiting trials."""
    waiting = [ResourceRequestUtil.make(trial)] * trials
    reply = ResourceDemandScheduler(None).schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=AutoscalingConfig(config, skip_content_hash=True).get_node_type_configs(),
            max_num_nodes=config["max_workers"],
            resource_requests=ResourceRequestUtil.group_by_count(waiting),
            recoverable_resource_availabilities=dict.fromkeys(exhausted, 0.0),
        )
    )
    counts = {request.instance_type: request.count for request in reply.to_launch}
    counts.pop("head", None)
    return counts
