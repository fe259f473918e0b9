"""Messages beside the passes: laws that hold whatever the sizes, and how buckets are filled."""

import pytest

from simulator.bench.shared import BUCKET_BYTE, FIRST_BUCKET_BYTE, Bucket, beside, buckets_of


def test_buckets_hold_all_gradients_in_their_order_and_the_first_leaves_early():
    gradients = [(float(3e5 + 7e4 * i), 0.01 * i) for i in range(200)]
    buckets = buckets_of(gradients)
    assert sum(b.byte for b in buckets) == pytest.approx(sum(byte for byte, _ in gradients))
    assert [b.ready_s for b in buckets] == sorted(b.ready_s for b in buckets)
    assert FIRST_BUCKET_BYTE <= buckets[0].byte < 2 * FIRST_BUCKET_BYTE
    assert all(b.byte >= BUCKET_BYTE for b in buckets[1:-1])
    assert buckets[-1].ready_s == gradients[-1][1]


def test_no_gradients_make_no_message():
    assert buckets_of([]) == []
    assert beside(2.0, [], [], 0.5).done_s == 2.0


@pytest.mark.parametrize("hindrance", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("work", "message"), [(2.0, 0.5), (0.5, 2.0), (1.0, 1.0)])
def test_work_and_a_message_begun_together_end_after_the_longer_and_a_share_of_the_shorter(hindrance, work, message):
    done = beside(work, [Bucket(byte=1.0, ready_s=0.0)], [message], hindrance)
    assert done.done_s == pytest.approx(max(work, message) + hindrance * min(work, message))


def test_a_message_that_is_complete_with_the_last_gradient_hides_behind_nothing():
    done = beside(1.0, [Bucket(byte=1.0, ready_s=1.0)], [0.4], 0.2)
    assert done.done_s == pytest.approx(1.4)
    assert done.overlap_share == 0.0


def test_more_hindrance_never_ends_sooner_and_the_bounds_hold():
    buckets = [Bucket(byte=1.0, ready_s=0.2 * i) for i in range(5)]
    each, passes = [0.1, 0.3, 0.05, 0.4, 0.2], 0.9
    ends = [beside(passes, buckets, each, h).done_s for h in (0.0, 0.25, 0.5, 1.0)]
    assert ends == sorted(ends)
    assert ends[0] >= max(passes, buckets[-1].ready_s + each[-1])
    assert ends[-1] <= passes + sum(each) + 1e-12
