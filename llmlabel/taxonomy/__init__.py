"""TnT-LLM phase 1: from raw texts to a taxonomy."""

from llmlabel.taxonomy.induce import induce
from llmlabel.taxonomy.settings import Induction

__all__ = ["Induction", "induce"]
