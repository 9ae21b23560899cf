"""HTTP of the Runtime API: whatever a client sends is requests or a refusal, in whatever pieces it comes."""

import itertools
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.runtime.http_wire import MAXIMUM_HEAD, BadRequest, Reply, RequestReader, head_of

WHOLE = (
    b"POST /2018-06-01/runtime/invocation/id/response?x=1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
    b"Lambda-Runtime-Function-Response-Mode: streaming\r\nTrailer: A\r\n\r\n"
    b"3\r\nabc\r\n2\r\nde\r\n0\r\nA-Trailer: \xc3\xbc\r\n\r\n"
    b"GET http://127.0.0.1:1/2018-06-01/runtime/invocation/next HTTP/1.1\r\nConnection: close\r\n\r\n"
)


def test_a_stream_has_its_trailers_and_the_next_request_follows():
    streamed, following = RequestReader(1, 100).feed(WHOLE)
    assert (streamed.method, streamed.path) == ("POST", "/2018-06-01/runtime/invocation/id/response")
    assert (streamed.body, streamed.size, streamed.trailers) == (b"abcde", 5, {"a-trailer": "ü"})
    assert streamed.keep_alive
    assert (following.path, following.keep_alive) == ("/2018-06-01/runtime/invocation/next", False)
    assert following.headers == {"connection": "close"}


class Taken:
    """Takes a stream, and has no room when it is told so."""

    def __init__(self):
        self.pieces = []
        self.full = False

    def take(self, piece):
        self.pieces.append(piece)


@given(st.lists(st.integers(1, len(WHOLE) - 1), max_size=8))
def test_a_body_goes_to_its_stream_as_it_comes_one_piece_for_each_read(cuts):
    stream, asked = Taken(), []
    reader = RequestReader(1, 4, lambda head: asked.append(head.path) or stream)
    places = [0, *sorted(set(cuts)), len(WHOLE)]
    streamed, following = [
        request for start, end in itertools.pairwise(places) for request in reader.feed(WHOLE[start:end])
    ]
    assert b"".join(stream.pieces) == b"abcd"  # no more than may be kept
    assert len(stream.pieces) < len(places)
    assert (streamed.body, streamed.size, streamed.streamed) == (b"", 5, True)
    assert streamed.trailers == {"a-trailer": "ü"}
    assert asked == [streamed.path]
    assert not following.streamed


def test_what_came_of_a_stream_before_it_was_no_http_any_more_is_handed_on():
    stream = Taken()
    reader = RequestReader(1, 100, lambda _: stream)
    with pytest.raises(BadRequest):
        reader.feed(WHOLE[: WHOLE.index(b"abc") + 5] + b"no chunk\r\n")
    assert stream.pieces == [b"abc"]
    assert reader.unfinished.streamed


@given(st.lists(st.integers(1, len(WHOLE) - 1), max_size=8))
def test_the_pieces_do_not_matter(cuts):
    reader, found = RequestReader(1, 100), []
    places = [0, *sorted(set(cuts)), len(WHOLE)]
    for start, end in itertools.pairwise(places):
        found += reader.feed(WHOLE[start:end])
    assert found == RequestReader(1, 100).feed(WHOLE)


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=60).map(lambda noise: WHOLE[:200] + noise)))
def test_noise_is_requests_or_a_refusal(noise):
    reader = RequestReader(10, 10)
    with suppress(BadRequest):
        for request in reader.feed(noise):
            assert request.method
            assert len(request.body) <= 10
    assert reader.unfinished is None or reader.unfinished.method


def test_a_body_is_counted_to_its_end_and_kept_to_the_limit():
    reader = RequestReader(4, 6)
    head = b"POST /a HTTP/1.1\r\nContent-Length: 10\r\n"
    [request] = reader.feed(head + b"\r\n0123456789")
    assert (request.body, request.size) == (b"0123", 10)
    reader.feed(head + b"lambda-runtime-function-response-mode: streaming\r\n\r\n01")
    assert reader.unfinished.body == b"01"
    [request] = reader.feed(b"23456789")
    assert (request.body, request.size) == (b"012345", 10)
    assert reader.unfinished is None


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00",  # TLS
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"GET / HTTP/1.1\r\nHeader: " + b"x" * MAXIMUM_HEAD + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(sent):
    with pytest.raises(BadRequest):
        RequestReader(1, 1).feed(sent)


def test_a_client_that_wants_to_be_told_to_go_on_is_told_once():
    reader = RequestReader(9, 9)
    reader.feed(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    assert [reader.expects_continue(), reader.expects_continue()] == [True, False]
    assert len(reader.feed(b"x")) == 1


def test_an_answer_says_how_long_it_is_and_whether_the_connection_stays():
    reply = Reply(202, (("Content-Type", "application/json"),), b"{}")
    assert head_of(reply, keep_alive=True) == (
        b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
    )
    assert b"\r\nConnection: close\r\n\r\n" in head_of(reply, keep_alive=False)
