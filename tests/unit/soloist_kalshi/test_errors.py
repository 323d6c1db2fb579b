import pytest
from soloist_kalshi import errors
from soloist_kalshi.errors import parse_error_body


@pytest.mark.parametrize(
    ("body", "code", "message", "details"),
    [
        (
            b'{"error":{"code":"authentication_error","message":"authentication_error","details":"NOT_FOUND"}}',
            "authentication_error",
            "authentication_error",
            "NOT_FOUND",
        ),
        (b'{"error":{"code":"x","message":"y","service":"exchange"}}', "x", "y", ""),
        (
            b'{"code":"bad_request","message":"bad request","details":"json: cannot unmarshal number"}',
            "bad_request",
            "bad request",
            "json: cannot unmarshal number",
        ),
        (b'{"code":"user_not_found:_1"}', "user_not_found:_1", "user_not_found:_1", ""),
        (
            b'{"msg":"Parameter validation failed for GetMarkets: limit"}',
            "parameter_validation",
            "Parameter validation failed for GetMarkets: limit",
            "",
        ),
        (b'{"error":"too many requests"}', "too_many_requests", "too many requests", ""),
        (b'{"code":"x","message":"y","details":{"a":[1]}}', "x", "y", '{"a":[1]}'),
        (b"plain words", "not_json", "plain words", ""),
        (b"", "empty", "empty body", ""),
        (b"\xff\xfe", "not_json", "\ufffd\ufffd", ""),
        (b"[1]", "", "[1]", ""),
        (b"{}", "", "", ""),
    ],
)
def test_every_shape_of_the_wire(body, code, message, details):
    error = parse_error_body(400, body)
    assert (error.status, error.code, error.message, error.details) == (400, code, message, details)


def test_a_page_of_the_edge_shows_its_title():
    error = parse_error_body(502, b"<HTML><head><title>502 Bad Gateway</title></head></HTML>")
    assert error.code == "html"
    assert "502 Bad Gateway" in str(error)
    assert "check the base URL" in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.VenueRejected),
        (401, errors.VenueUnauthorized),
        (403, errors.VenueForbidden),
        (404, errors.VenueNotFound),
        (409, errors.VenueConflict),
        (410, errors.VenueRejected),
        (429, errors.VenueRateLimited),
        (500, errors.VenueUnavailable),
        (503, errors.VenueUnavailable),
    ],
)
def test_the_status_chooses_the_class(status, kind):
    assert type(parse_error_body(status, b"{}")) is kind


def test_long_bodies_are_cut_in_messages_and_kept_whole_in_raw():
    assert len(str(parse_error_body(500, b"x" * 10_000))) < 400
    error = errors.VenueProtocolError("what", b"y" * 10_000)
    assert len(str(error)) < 400
    assert len(error.raw) == 10_000
