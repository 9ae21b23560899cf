"""A handler's process goes into its control group by itself, and never fails by that."""

from handlers.rig import descriptors

from poller.runtime.own_control_group import join


def test_it_goes_where_it_is_told_to(tmp_path):
    members = tmp_path / "cgroup.procs"
    members.touch()
    join(str(tmp_path))
    assert members.read_text() == "0"


def test_where_it_may_not_it_stays_and_keeps_nothing_open(tmp_path):
    join(str(tmp_path))
    (tmp_path / "cgroup.procs").symlink_to("/dev/full")
    before = descriptors()
    join(str(tmp_path))
    assert descriptors() == before
