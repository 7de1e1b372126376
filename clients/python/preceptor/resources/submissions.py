"""`client.label_sets`, `client.probes`, `client.recommendations`, `client.distillations`"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from ..contract.distillations import StudentModel
from ..contract.jobs import JobSummary, Priority
from ..contract.labels import LabelSet, LabelSetBody
from ..contract.losses import Loss
from ..contract.probes import Probe, ProbeCheck, ProbeFormat
from ..contract.recommendations import Method, Mode, PairCost, TeacherFilter
from ..contract.teachers import Modality, Teacher
from ..contract.training import Training
from ..core.bodies import Labels, identifier, labels_or_id
from ..core.files.transfer import OnTransfer
from ..core.paging import page_size as checked
from ..core.routes import distillations, label_sets, probes, recommendations
from ..core.teacher_names import teacher_ids
from ..options import LossOptions, PairCostOptions, StudentOptions, TrainingOptions
from ..transport.async_driver import AsyncDriver
from ..transport.sync_driver import Driver
from .jobs import AsyncDistillationJob, AsyncRecommendationJob, DistillationJob, RecommendationJob
from .paging import AsyncPager, Pager


class LabelSets:
    """Ordered class names; equal sets have an equal id."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def create(
        self,
        labels: Sequence[str] | LabelSetBody,
        *,
        descriptions: Mapping[str, str] | None = None,
        prior: Sequence[float] | None = None,
        embeddings: Sequence[Sequence[float]] | None = None,
    ) -> LabelSet:
        """Register a label set, or find the one that is there."""
        return self._driver.send(label_sets.create(labels, descriptions, prior, embeddings))

    def get(self, label_set: str) -> LabelSet:
        """One label set."""
        return self._driver.send(label_sets.get(label_set))

    def list(self, *, page_size: int = 50) -> Pager[LabelSet]:
        """All label sets, newest first."""
        limit = checked(page_size)
        return Pager(self._driver, lambda cursor: label_sets.page(limit, cursor))

    def delete(self, label_set: str) -> None:
        """Remove a label set."""
        self._driver.send(label_sets.delete(label_set))


class Probes:
    """Samples of the student's data; equal content has an equal id."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def upload(
        self,
        source: str | Path | bytes,
        labels: Sequence[str] | None = None,
        format: ProbeFormat | None = None,
        *,
        on_transfer: OnTransfer | None = None,
        idempotency_key: str | None = None,
    ) -> Probe:
        """Upload a sample, streamed from disk.

        Parameters
        ----------
        source
            A file (`.npz`, `.parquet`, `.zip`, `.jsonl`, `.csv`), or its bytes together with `format`.
        labels
            Class names in label order, where the data holds class numbers only.
        """
        return self._driver.send(probes.upload(source, labels, format, on_transfer, idempotency_key))

    def check(
        self,
        source: str | Path | bytes,
        labels: Sequence[str] | None = None,
        format: ProbeFormat | None = None,
        *,
        on_transfer: OnTransfer | None = None,
    ) -> ProbeCheck:
        """Have a sample read as `upload` does, and store nothing -> the probe that it would become, with examples.

        Parameters
        ----------
        source, labels
            As for `upload`.
        """
        return self._driver.send(probes.check(source, labels, format, on_transfer))

    def get(self, probe: str) -> Probe:
        """One probe."""
        return self._driver.send(probes.get(probe))

    def list(self, *, page_size: int = 50) -> Pager[Probe]:
        """All probes, newest first."""
        limit = checked(page_size)
        return Pager(self._driver, lambda cursor: probes.page(limit, cursor))

    def delete(self, probe: Probe | str) -> None:
        """Remove a probe."""
        self._driver.send(probes.delete(identifier(probe)))


class Recommendations:
    """Rank the zoo for a student."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def create(
        self,
        student: Labels | None = None,
        probe: Probe | str | None = None,
        *,
        teachers: recommendations.Teachers | None = None,
        tags: Sequence[str] | None = None,
        modality: Modality | None = None,
        candidates: recommendations.Candidates | None = None,
        method: Method | None = None,
        mode: Mode | None = None,
        top_k: int | None = None,
        sources_per_class: int | None = None,
        shortlist: int | None = None,
        budget_seconds: float | None = None,
        pairs: Sequence[PairCost | PairCostOptions] | None = None,
        temperature: float | None = None,
        encoder: str | None = None,
        priority: Priority | None = None,
        wait: float | None = None,
        idempotency_key: str | None = None,
    ) -> RecommendationJob:
        """Start a recommendation. What is left out takes the service's default (see RecommendationBody).

        Parameters
        ----------
        student
            Class names, a LabelSetBody, or a registered label set; optional where the probe names its classes.
        teachers, tags, modality
            Which registered teachers take part: ids, exact names or a TeacherFilter; tags that they all carry; a
            modality.
        candidates
            Label sets that compete without a model behind them, by name.
        wait
            Seconds that the service may hold the answer, so that a quick job is finished when this returns.
        """
        values = {
            "student": labels_or_id(student),
            "probe": identifier(probe),
            "method": method,
            "mode": mode,
            "top_k": top_k,
            "sources_per_class": sources_per_class,
            "shortlist": shortlist,
            "budget_seconds": budget_seconds,
            "pairs": None if pairs is None else list(pairs),
            "temperature": temperature,
            "encoder": encoder,
            "priority": priority,
        }
        if teachers is not None and not isinstance(teachers, TeacherFilter):
            teachers = self._driver.run(teacher_ids(self._driver.settings, teachers))
        call = recommendations.create(
            values,
            teachers=teachers,
            tags=tags,
            modality=modality,
            candidates=candidates,
            wait=wait,
            idempotency_key=idempotency_key,
        )
        return RecommendationJob(self._driver, self._driver.send(call))

    def get(self, recommendation: str) -> RecommendationJob:
        """One recommendation."""
        return RecommendationJob(self._driver, self._driver.send(recommendations.get(recommendation)))

    def list(self, *, page_size: int = 50) -> Pager[JobSummary]:
        """All recommendations, newest first."""
        limit = checked(page_size)
        return Pager(self._driver, lambda cursor: recommendations.page(limit, cursor))


class Distillations:
    """Train a student from teachers across label sets."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def create(
        self,
        data: Probe | str,
        *,
        teachers: Sequence[Teacher | str] | None = None,
        recommendation: RecommendationJob | str | None = None,
        team: int | None = None,
        transfer: Probe | str | None = None,
        test: Probe | str | None = None,
        labels: Labels | None = None,
        student: StudentModel | StudentOptions | Literal["auto", "cnn", "bow", "mlp"] | None = None,
        loss: Loss | LossOptions | None = None,
        training: Training | TrainingOptions | None = None,
        compare: bool | Literal["full"] | None = None,
        priority: Priority | None = None,
        name: str | None = None,
        wait: float | None = None,
        idempotency_key: str | None = None,
    ) -> DistillationJob:
        """Start a distillation. What is left out takes the service's default (see DistillationBody).

        Parameters
        ----------
        data, transfer, test
            Probes: labelled to train on; unlabelled, where only the teachers speak; labelled to measure on.
        teachers, recommendation
            One of the two: the teachers (ids or exact names), or a finished recommendation, of whose team the first
            `team` are taken.
        student
            A model of the contract, or the name of a built-in one.
        """
        chosen = None if teachers is None else self._driver.run(teacher_ids(self._driver.settings, teachers))
        values = {
            "data": identifier(data),
            "teachers": chosen,
            "recommendation": identifier(recommendation),
            "team": team,
            "transfer": identifier(transfer),
            "test": identifier(test),
            "labels": labels_or_id(labels),
            "student": {"kind": "builtin", "name": student} if isinstance(student, str) else student,
            "loss": loss,
            "training": training,
            "compare": compare,
            "priority": priority,
            "name": name,
        }
        return DistillationJob(self._driver, self._driver.send(distillations.create(values, wait, idempotency_key)))

    def get(self, distillation: str) -> DistillationJob:
        """One distillation."""
        return DistillationJob(self._driver, self._driver.send(distillations.get(distillation)))

    def list(self, *, page_size: int = 50) -> Pager[JobSummary]:
        """All distillations, newest first."""
        limit = checked(page_size)
        return Pager(self._driver, lambda cursor: distillations.page(limit, cursor))


class AsyncLabelSets:
    """Ordered class names; equal sets have an equal id."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def create(
        self,
        labels: Sequence[str] | LabelSetBody,
        *,
        descriptions: Mapping[str, str] | None = None,
        prior: Sequence[float] | None = None,
        embeddings: Sequence[Sequence[float]] | None = None,
    ) -> LabelSet:
        """Register a label set, or find the one that is there."""
        return await self._driver.send(label_sets.create(labels, descriptions, prior, embeddings))

    async def get(self, label_set: str) -> LabelSet:
        """One label set."""
        return await self._driver.send(label_sets.get(label_set))

    def list(self, *, page_size: int = 50) -> AsyncPager[LabelSet]:
        """All label sets, newest first."""
        limit = checked(page_size)
        return AsyncPager(self._driver, lambda cursor: label_sets.page(limit, cursor))

    async def delete(self, label_set: str) -> None:
        """Remove a label set."""
        await self._driver.send(label_sets.delete(label_set))


class AsyncProbes:
    """Samples of the student's data; equal content has an equal id."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def upload(
        self,
        source: str | Path | bytes,
        labels: Sequence[str] | None = None,
        format: ProbeFormat | None = None,
        *,
        on_transfer: OnTransfer | None = None,
        idempotency_key: str | None = None,
    ) -> Probe:
        """Upload a sample, streamed from disk.

        Parameters
        ----------
        source
            A file (`.npz`, `.parquet`, `.zip`, `.jsonl`, `.csv`), or its bytes together with `format`.
        labels
            Class names in label order, where the data holds class numbers only.
        """
        return await self._driver.send(probes.upload(source, labels, format, on_transfer, idempotency_key))

    async def check(
        self,
        source: str | Path | bytes,
        labels: Sequence[str] | None = None,
        format: ProbeFormat | None = None,
        *,
        on_transfer: OnTransfer | None = None,
    ) -> ProbeCheck:
        """Have a sample read as `upload` does, and store nothing -> the probe that it would become, with examples.

        Parameters
        ----------
        source, labels
            As for `upload`.
        """
        return await self._driver.send(probes.check(source, labels, format, on_transfer))

    async def get(self, probe: str) -> Probe:
        """One probe."""
        return await self._driver.send(probes.get(probe))

    def list(self, *, page_size: int = 50) -> AsyncPager[Probe]:
        """All probes, newest first."""
        limit = checked(page_size)
        return AsyncPager(self._driver, lambda cursor: probes.page(limit, cursor))

    async def delete(self, probe: Probe | str) -> None:
        """Remove a probe."""
        await self._driver.send(probes.delete(identifier(probe)))


class AsyncRecommendations:
    """Rank the zoo for a student."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def create(
        self,
        student: Labels | None = None,
        probe: Probe | str | None = None,
        *,
        teachers: recommendations.Teachers | None = None,
        tags: Sequence[str] | None = None,
        modality: Modality | None = None,
        candidates: recommendations.Candidates | None = None,
        method: Method | None = None,
        mode: Mode | None = None,
        top_k: int | None = None,
        sources_per_class: int | None = None,
        shortlist: int | None = None,
        budget_seconds: float | None = None,
        pairs: Sequence[PairCost | PairCostOptions] | None = None,
        temperature: float | None = None,
        encoder: str | None = None,
        priority: Priority | None = None,
        wait: float | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncRecommendationJob:
        """Start a recommendation. What is left out takes the service's default (see RecommendationBody).

        Parameters
        ----------
        student
            Class names, a LabelSetBody, or a registered label set; optional where the probe names its classes.
        teachers, tags, modality
            Which registered teachers take part: ids, exact names or a TeacherFilter; tags that they all carry; a
            modality.
        candidates
            Label sets that compete without a model behind them, by name.
        wait
            Seconds that the service may hold the answer, so that a quick job is finished when this returns.
        """
        values = {
            "student": labels_or_id(student),
            "probe": identifier(probe),
            "method": method,
            "mode": mode,
            "top_k": top_k,
            "sources_per_class": sources_per_class,
            "shortlist": shortlist,
            "budget_seconds": budget_seconds,
            "pairs": None if pairs is None else list(pairs),
            "temperature": temperature,
            "encoder": encoder,
            "priority": priority,
        }
        if teachers is not None and not isinstance(teachers, TeacherFilter):
            teachers = await self._driver.run(teacher_ids(self._driver.settings, teachers))
        call = recommendations.create(
            values,
            teachers=teachers,
            tags=tags,
            modality=modality,
            candidates=candidates,
            wait=wait,
            idempotency_key=idempotency_key,
        )
        return AsyncRecommendationJob(self._driver, await self._driver.send(call))

    async def get(self, recommendation: str) -> AsyncRecommendationJob:
        """One recommendation."""
        return AsyncRecommendationJob(self._driver, await self._driver.send(recommendations.get(recommendation)))

    def list(self, *, page_size: int = 50) -> AsyncPager[JobSummary]:
        """All recommendations, newest first."""
        limit = checked(page_size)
        return AsyncPager(self._driver, lambda cursor: recommendations.page(limit, cursor))


class AsyncDistillations:
    """Train a student from teachers across label sets."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def create(
        self,
        data: Probe | str,
        *,
        teachers: Sequence[Teacher | str] | None = None,
        recommendation: AsyncRecommendationJob | str | None = None,
        team: int | None = None,
        transfer: Probe | str | None = None,
        test: Probe | str | None = None,
        labels: Labels | None = None,
        student: StudentModel | StudentOptions | Literal["auto", "cnn", "bow", "mlp"] | None = None,
        loss: Loss | LossOptions | None = None,
        training: Training | TrainingOptions | None = None,
        compare: bool | Literal["full"] | None = None,
        priority: Priority | None = None,
        name: str | None = None,
        wait: float | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncDistillationJob:
        """Start a distillation. What is left out takes the service's default (see DistillationBody).

        Parameters
        ----------
        data, transfer, test
            Probes: labelled to train on; unlabelled, where only the teachers speak; labelled to measure on.
        teachers, recommendation
            One of the two: the teachers (ids or exact names), or a finished recommendation, of whose team the first
            `team` are taken.
        student
            A model of the contract, or the name of a built-in one.
        """
        chosen = None if teachers is None else await self._driver.run(teacher_ids(self._driver.settings, teachers))
        values = {
            "data": identifier(data),
            "teachers": chosen,
            "recommendation": identifier(recommendation),
            "team": team,
            "transfer": identifier(transfer),
            "test": identifier(test),
            "labels": labels_or_id(labels),
            "student": {"kind": "builtin", "name": student} if isinstance(student, str) else student,
            "loss": loss,
            "training": training,
            "compare": compare,
            "priority": priority,
            "name": name,
        }
        return AsyncDistillationJob(
            self._driver, await self._driver.send(distillations.create(values, wait, idempotency_key))
        )

    async def get(self, distillation: str) -> AsyncDistillationJob:
        """One distillation."""
        return AsyncDistillationJob(self._driver, await self._driver.send(distillations.get(distillation)))

    def list(self, *, page_size: int = 50) -> AsyncPager[JobSummary]:
        """All distillations, newest first."""
        limit = checked(page_size)
        return AsyncPager(self._driver, lambda cursor: distillations.page(limit, cursor))
