"""The table of estimators. A new estimator needs a module and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from worker.ranking.estimators.alignment import Alignment, TransportGain
from worker.ranking.estimators.base import Estimator
from worker.ranking.estimators.controls import (
    ClassCount,
    MutualInformation,
    ParameterCount,
    RandomOrder,
    RandomTeacher,
    TeacherAccuracy,
)
from worker.ranking.estimators.hscore import RegularisedHScore
from worker.ranking.estimators.knn import NearestNeighbour
from worker.ranking.estimators.label_transport import LabelTransport
from worker.ranking.estimators.leep import Leep
from worker.ranking.estimators.logme import LogMe
from worker.ranking.estimators.nce import NegativeConditionalEntropy
from worker.ranking.estimators.nleep import NLeep
from worker.ranking.estimators.parc import Parc
from worker.ranking.estimators.prediction_transport import PredictionTransport
from worker.ranking.estimators.sfda import Sfda
from worker.ranking.estimators.transport_map import TransportMap

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
