"""What changed between two taxonomies, by label id; and whether one is sound."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmlabel.records import Label, Taxonomy
from llmlabel.taxonomy.names import is_vague, same_name


@dataclass(frozen=True)
class Diff:
    """Label ids. `changed`: another meaning (name, description or parent), as pairs of old and new."""

    added: list[Label] = field(default_factory=list)
    removed: list[Label] = field(default_factory=list)
    changed: list[tuple[Label, Label]] = field(default_factory=list)
    same: list[Label] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def lines(self) -> list[str]:
        """One line a change, as `git` would mark it."""
        out = [f"- {label.id}  {label.name}: {label.description}" for label in self.removed]
        out += [f"+ {label.id}  {label.name}: {label.description}" for label in self.added]
        for old, new in self.changed:
            for part in ("name", "description", "parent"):
                before, after = getattr(old, part), getattr(new, part)
                if before != after:
                    out.append(f"~ {new.id}  {part}: {before} -> {after}")
        return out


def diff(old: Taxonomy, new: Taxonomy) -> Diff:
    """Compare by id; the order of labels and their examples do not count."""
    before, after = ({label.id: label for label in t.labels} for t in (old, new))
    result = Diff(
        [label for i, label in after.items() if i not in before],
        [label for i, label in before.items() if i not in after],
    )
    for i in before.keys() & after.keys():
        same = all(getattr(before[i], part) == getattr(after[i], part) for part in ("name", "description", "parent"))
        (result.same.append(after[i]) if same else result.changed.append((before[i], after[i])))
    result.changed.sort(key=lambda pair: pair[1].id)
    return result


def problems(taxonomy: Taxonomy) -> list[str]:
    """What a reader would object to, one line each; empty for a sound taxonomy."""
    found = []
    labels = taxonomy.labels
    if len(labels) < 2:
        found.append("there are fewer than two labels")
    for n, label in enumerate(labels):
        if is_vague(label.name):
            found.append(f"{label.id}: the name {label.name!r} is a vague bucket")
        if not label.description.strip():
            found.append(f"{label.id}: no description; a model that labels with it has only the name to go by")
        for other in labels[:n]:
            if other.parent == label.parent and same_name(other.name, label.name):
                found.append(f"{label.id}: the name {label.name!r} says the same as that of {other.id}")
        if len(taxonomy.children(label.id)) == 1:
            found.append(f"{label.id}: has a single child; give it more, or none")
    return found
