"""What schemathesis has to know to send packages: hooks for scripts/api-test.

Packages are made by the generator of the test vectors: messages that every layout takes, in any number and order, with wrong
checksums and cut off now and then, and bytes that are no package at all.
"""

import sys
from pathlib import Path

import schemathesis
from hypothesis import strategies as st

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "vectors"))
import generate  # noqa: E402

BODIES = [(body["type_id"], body["version"], bytes.fromhex(body["hex"])) for body in generate.bodies()["bodies"]]

messages = st.builds(
    lambda kind, sequence, event_time_ms, error: generate.message(*kind[:2], sequence, event_time_ms, kind[2], error),
    st.sampled_from(BODIES),
    st.integers(0, 2**32 - 1),
    # Most times are within devices.max_event_time_behind.
    st.one_of(st.integers(1_700_000_000_000, 1_780_000_000_000), st.integers(0, 1_780_000_000_000)),
    # Most checksums are right.
    st.sampled_from([0, 0, 0, 1]),
)


def package(count_error, parts, tail):
    return generate.snappy((len(parts) + count_error).to_bytes(2, "big") + b"".join(parts) + tail)


packages = st.builds(package, st.sampled_from([0, 0, 0, 1]), st.lists(messages, max_size=20), st.sampled_from([b"", b"", b"!"]))

schemathesis.openapi.media_type("application/vnd.surgetank.package", st.one_of(packages, packages, st.binary(max_size=200)))
