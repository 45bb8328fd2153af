from engage_pipelines.destinations.http import Request
from engage_pipelines.destinations.sending.aws_signature import Keys, encoded_path, signed

_EXAMPLE = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")
_AT_S = 1_369_353_600.0


def test_the_example_of_amazons_documents_is_signed_as_they_say() -> None:
    """The GET of a part of an object, in docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html."""
    request = signed(Request("https://examplebucket.s3.amazonaws.com/test.txt", b"", {"Range": "bytes=0-9"}, "GET"), _EXAMPLE, _AT_S)
    assert request.headers["X-Amz-Date"] == "20130524T000000Z"
    assert request.headers["Authorization"].endswith("Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")


def test_a_port_is_signed_unless_it_is_the_usual_one() -> None:
    for url, host in (("https://s3.example:443/b/k", "s3.example"), ("http://s3.example:9000/b/k", "s3.example:9000")):
        assert signed(Request(url, b"", {}, "GET"), _EXAMPLE, _AT_S).headers["Host"] == host


def test_the_keys_are_not_shown() -> None:
    assert "bPxRfiCYEXAMPLEKEY" not in repr(_EXAMPLE)
    assert encoded_path("a b/ü~(1).csv") == "a%20b/%C3%BC~%281%29.csv"
