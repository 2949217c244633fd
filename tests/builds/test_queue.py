from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_binder.builds.queue import expected_seconds, in_order, next_builds
from tests.kit.parts import build_named


def _builds(people: str):
    return [build_named(f"{i:03d}", by=person) for i, person in enumerate(people)]


def _ids(builds):
    return [build.id for build in builds]


def test_people_take_turns():
    waiting = _builds("aaab")
    assert _ids(in_order(waiting, [])) == ["000", "003", "001", "002"]


def test_whoever_runs_something_waits_for_whoever_runs_nothing():
    running = [build_named("r", by="a")]
    assert _ids(in_order(_builds("ab"), running)) == ["001", "000"]


def test_a_person_at_their_limit_is_passed_over():
    running = [build_named("r", by="a")]
    chosen = next_builds(_builds("ab"), running, max_running=3, max_per_person=lambda _: 1)
    assert _ids(chosen) == ["001"]


def test_no_more_begin_than_there_is_room_for():
    assert _ids(next_builds(_builds("abc"), [], max_running=2, max_per_person=lambda _: 9)) == [
        "000",
        "001",
    ]


def test_a_key_that_is_still_cleaned_up_waits():
    assert _ids(
        next_builds(_builds("ab"), [], max_running=2, max_per_person=lambda _: 2, busy_keys={"000"})
    ) == ["001"]


@given(
    st.text("abc", max_size=12), st.text("abc", max_size=4), st.integers(1, 5), st.integers(1, 3)
)
def test_limits_hold_and_nothing_idles(people, at_work, most, max_per_person):
    waiting = _builds(people)
    running = [build_named(f"r{i}", by=by) for i, by in enumerate(at_work)]
    chosen = next_builds(
        waiting, running, max_running=most, max_per_person=lambda _: max_per_person
    )
    assert len(running) + len(chosen) <= max(most, len(running))
    theirs = [build.created_by for build in (*running, *chosen)]
    for build in chosen:
        assert theirs.count(build.created_by) <= max_per_person
    if len(running) + len(chosen) < most:
        left = [build for build in waiting if build not in chosen]
        assert all(theirs.count(build.created_by) >= max_per_person for build in left)


def test_the_repositorys_own_times_count_before_all_others():
    assert expected_seconds([3, 1, 2], [100]) == 2
    assert expected_seconds([], [100, 50]) == 75
    assert expected_seconds([], []) is None
