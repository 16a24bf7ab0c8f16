"""presidio-analyzer as a finder of personal data: the extra `pii`.

Its pattern recognisers work on their own. Names and places need an English spaCy model, which is used when one is installed
as a Python package; none is fetched.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from llmlabel.errors import ConfigError
from llmlabel.personal import Finder, find

SURE = 0.5  # presidio's score; any digits that could be a phone have .4, without a word beside them that says so
KINDS = {  # e-mail is left to ours: presidio checks it against a list it would fetch
    "PHONE_NUMBER": "PHONE", "CREDIT_CARD": "CARD", "IBAN_CODE": "IBAN", "US_SSN": "SSN",
    "IP_ADDRESS": "IP", "MAC_ADDRESS": "MAC", "PERSON": "PERSON", "LOCATION": "PLACE",
    "CRYPTO": "WALLET", "US_ITIN": "TAX_ID", "UK_NHS": "HEALTH_ID",
    "MEDICAL_LICENSE": "LICENSE", "US_PASSPORT": "PASSPORT", "US_BANK_NUMBER": "ACCOUNT", "US_DRIVER_LICENSE": "LICENSE",
}  # fmt: skip


def finder() -> Finder:
    """Finds what the regular expressions find, and what presidio adds.

    Raises: ConfigError where presidio-analyzer is not installed.
    """
    try:
        analyzer = _analyzer()
    except ImportError as e:
        raise ConfigError(
            "--mask-pii presidio needs presidio-analyzer: pip install 'llmlabel[pii]'; or use --mask-pii regex"
        ) from e
    known = sorted(KINDS.keys() & set(analyzer.get_supported_entities()))

    def spans(text: str) -> Iterator[tuple[int, int, str]]:
        yield from find(text)
        for result in analyzer.analyze(text, language="en", entities=known, score_threshold=SURE):
            yield result.start, result.end, KINDS[result.entity_type]

    return spans


def _analyzer() -> Any:
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry

    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
    engine = _nlp_engine()
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.load_predefined_recognizers(languages=["en"], nlp_engine=engine)
    return AnalyzerEngine(nlp_engine=engine, registry=registry, supported_languages=["en"])


def _nlp_engine() -> Any:
    """presidio's spaCy engine with an installed model, else with a tokenizer alone; it would fetch a missing model itself."""
    import spacy
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    name = next((model for model in sorted(spacy.util.get_installed_models()) if model.startswith("en_")), "")
    engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": name or "blank"}])
    engine.nlp = {"en": spacy.load(name) if name else spacy.blank("en")}
    return engine
