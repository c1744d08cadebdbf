"""How the publisher sends the end of a run again that the API has not recorded, without an API."""

from __future__ import annotations

from prefect.states import Completed

from prefect_anyrunner._publishing.options import EventOptions
from prefect_anyrunner._publishing.publisher import Publisher
from prefect_anyrunner._publishing.source import Source
from tests.unit.publishing.test_change import ended


def test_an_end_that_is_lost_twice_is_sent_under_a_new_id() -> None:
    publisher, source, change = Publisher(), Source(EventOptions()), ended(Completed())
    ids = [change.state.id]
    publisher._sent.add(source, change)
    for _ in range(2):
        asked = publisher._sent.oldest(1)
        publisher._send_again(asked, [sent.change for sent in asked])
        again = publisher._kept.popleft().change
        publisher._sent.add(source, again)
        ids.append(again.state.id)
    assert ids[0] == ids[1] != ids[2]
