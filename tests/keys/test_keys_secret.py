"""Secrets cannot be shown by accident."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from dataclasses import asdict, dataclass

import pytest

from keys.secret import Secret, SecretText

CANARY = "canary-7f3a91"
KINDS = [Secret(CANARY.encode()), SecretText(CANARY)]


@dataclass
class Holder:
    secret: object


@pytest.mark.parametrize("secret", KINDS)
class TestSecretsStayHidden:
    def test_repr_str_and_format_show_nothing(self, secret: Secret | SecretText) -> None:
        shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", f"{secret:x<40}"]
        shown += [repr([secret]), repr({"k": secret}), repr((secret,)), ascii(secret)]
        shown += [repr(Holder(secret)), repr(asdict(Holder(secret))), repr(dir(secret))]
        assert all(CANARY not in text for text in shown)

    def test_no_attribute_dictionary_leads_to_the_value(self, secret: Secret | SecretText) -> None:
        with pytest.raises(TypeError):
            vars(secret)
        public = [getattr(secret, name) for name in dir(secret) if not name.startswith("_")]
        assert [value.__name__ for value in public] == ["reveal"]

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_pickle_is_refused(self, secret: Secret | SecretText, protocol: int) -> None:
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(secret, protocol=protocol)
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(Holder(secret), protocol=protocol)

    def test_state_is_refused(self, secret: Secret | SecretText) -> None:
        with pytest.raises(TypeError):
            secret.__getstate__()

    def test_json_is_refused(self, secret: Secret | SecretText) -> None:
        with pytest.raises(TypeError) as caught:
            json.dumps({"secret": secret})
        assert CANARY not in str(caught.value)

    def test_copies_are_the_same_object(self, secret: Secret | SecretText) -> None:
        assert copy.copy(secret) is secret
        assert copy.deepcopy([secret])[0] is secret

    def test_it_cannot_be_changed(self, secret: Secret | SecretText) -> None:
        with pytest.raises(AttributeError):
            secret.other = 1  # type: ignore[union-attr]
        with pytest.raises(AttributeError):
            del secret.reveal  # type: ignore[union-attr]

    def test_a_traceback_with_locals_shows_nothing(self, secret: Secret | SecretText) -> None:
        def fail(held: object) -> None:
            inner = [held]
            raise RuntimeError(f"failed with {inner} {held}")

        try:
            fail(secret)
        except RuntimeError as error:
            report = traceback.TracebackException.from_exception(error, capture_locals=True)
            text = "".join(report.format())
        assert CANARY not in text
        assert "***" in text

    def test_a_log_line_shows_nothing(
        self, secret: Secret | SecretText, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG):
            logging.getLogger("test").debug("secret %s %r", secret, {"x": secret})
        assert CANARY not in caplog.text
        assert "***" in caplog.text


class TestEquality:
    def test_equal_values_are_equal(self) -> None:
        assert Secret(b"a") == Secret(b"a")
        assert SecretText("密") == SecretText("密")

    def test_other_values_and_other_types_are_not(self) -> None:
        assert Secret(b"a") != Secret(b"b")
        assert Secret(b"a") != b"a"
        assert SecretText("a") != Secret(b"a")

    def test_no_hash_that_could_be_searched(self) -> None:
        with pytest.raises(TypeError):
            hash(Secret(b"a"))

    def test_the_wrong_type_is_refused_without_repeating_it(self) -> None:
        with pytest.raises(TypeError) as caught:
            Secret(CANARY)  # type: ignore[arg-type]
        assert CANARY not in str(caught.value)
        with pytest.raises(TypeError):
            SecretText(CANARY.encode())  # type: ignore[arg-type]
