"""What several tests of the tokenizer share."""

import pytest


@pytest.fixture(scope="module")
def no_pictures():
    """Of reports: they take most of the time of a small dataset."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tokenizer.dataset.report.draw", lambda report, lengths, path: path.write_bytes(b"PNG"))
        yield
