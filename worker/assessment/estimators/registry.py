"""The table of estimators. A new estimator is one new file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from worker.assessment.estimators.alignment import Alignment, TransportGain
from worker.assessment.estimators.base import Estimator
from worker.assessment.estimators.controls import (
    ClassCount,
    MutualInformation,
    ParameterCount,
    RandomOrder,
    RandomTeacher,
    TeacherAccuracy,
)
from worker.assessment.estimators.hscore import RegularisedHScore
from worker.assessment.estimators.knn import NearestNeighbour
from worker.assessment.estimators.label_transport import LabelTransport
from worker.assessment.estimators.leep import Leep
from worker.assessment.estimators.logme import LogMe
from worker.assessment.estimators.nce import NegativeConditionalEntropy
from worker.assessment.estimators.nleep import NLeep
from worker.assessment.estimators.parc import Parc
from worker.assessment.estimators.prediction_transport import PredictionTransport
from worker.assessment.estimators.sfda import Sfda
from worker.assessment.estimators.transport_map import TransportMap

_ALL: tuple[Estimator, ...] = (
    LabelTransport("coverage"),
    LabelTransport("balanced"),
    PredictionTransport(),
    PredictionTransport(alpha=0.5, name="prediction_transport_prototype"),
    TransportGain(),
    TransportGain(alpha=0.5, name="transport_gain_prototype"),
    Alignment(),
    Alignment(alpha=0.5, name="alignment_prototype"),
    Leep(),
    NegativeConditionalEntropy(),
    NLeep(),
    LogMe(),
    RegularisedHScore(),
    Parc(),
    NearestNeighbour(),
    Sfda(),
    TransportMap(),
    TeacherAccuracy(),
    ClassCount(),
    ParameterCount(),
    MutualInformation(),
    RandomTeacher(TransportGain()),
    RandomOrder(),
)

ESTIMATORS: Mapping[str, Estimator] = MappingProxyType({estimator.name: estimator for estimator in _ALL})
