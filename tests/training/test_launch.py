"""Who started a process is told from its environment."""

import os

import pytest

from allegro_dist.training.launch import LaunchError, find_launch, first_node, slurm_meeting_point
from tests.training.ranks import environment


@pytest.fixture
def launched(monkeypatch):
    """launched(NAME=value, ...) sets all that the environment says of a launcher."""

    def set_variables(**variables):
        for name in set(os.environ) - set(environment()):
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables


@pytest.mark.parametrize(
    "nodes, first",
    [
        ("node1", "node1"),
        ("a12,b3", "a12"),
        ("node[01-03,07]", "node01"),
        ("node[7,9-12],other1", "node7"),
        ("rack[2-3]-node[07-09]", "rack2-node07"),
        ("", ""),
    ],
)
def test_first_node_of_a_list_of_slurm(nodes, first):
    assert first_node(nodes) == first


STEP = {"SLURM_JOB_ID": "41000", "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "n[3-4]"}


def test_tasks_meet_at_the_first_node_of_their_step_unless_told():
    assert slurm_meeting_point({**STEP, "SLURM_JOB_NODELIST": "n[1-4]"})[0] == "n3"
    assert slurm_meeting_point({**STEP, "MASTER_ADDR": "head", "MASTER_PORT": "1234"}) == ("head", 1234)


def test_jobs_and_steps_of_slurm_have_ports_of_their_own():
    ports = {slurm_meeting_point({**STEP, "SLURM_JOB_ID": str(job)})[1] for job in range(41_000, 41_100)}
    ports.add(slurm_meeting_point({**STEP, "SLURM_STEP_ID": "100"})[1])
    assert len(ports) == 101 and min(ports) >= 20_000 and max(ports) < 40_000


def test_no_launcher_means_alone(launched):
    launched()
    assert find_launch()[:3] == (0, 1, 0)


def test_one_task_of_slurm_is_alone(launched):
    launched(SLURM_NTASKS="1", SLURM_PROCID="0", SLURM_STEP_NUM_TASKS="1", SLURM_JOB_ID="7")
    assert find_launch()[:3] == (0, 1, 0)


def test_batch_script_of_slurm_is_alone_whatever_the_tasks_of_its_job(launched):
    launched(SLURM_NTASKS="2", SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_JOB_ID="7", SLURM_JOB_NODELIST="n1")
    assert find_launch()[:3] == (0, 1, 0)


def test_torchrun_is_asked_first(launched):
    launched(RANK="1", WORLD_SIZE="3", LOCAL_RANK="1", SLURM_STEP_NUM_TASKS="2", SLURM_PROCID="0", PMI_SIZE="2")
    assert find_launch()[:3] == (1, 3, 1)


def test_mpirun_within_a_job_of_slurm_counts_for_itself(launched):
    # Two processes, says mpirun; four tasks, says the step. This process is one of neither, which mpi4py notices.
    launched(PMI_SIZE="2", SLURM_STEP_NUM_TASKS="4", SLURM_PROCID="0", **STEP)
    pytest.importorskip("mpi4py")
    with pytest.raises(LaunchError, match="mpirun started 2 processes, but mpi4py, of another MPI, sees 1"):
        find_launch()
