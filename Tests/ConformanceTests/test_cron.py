"""Cron expressions beside croniter and cronsim: where the two agree, so does Keelson; where they
differ, Keelson does what docs/jobs.md says, worked out here once more in the plainest way."""

import collections
import datetime
import itertools
import os
import random
import warnings
import zoneinfo

import pytest
from croniter import croniter
from cronsim import CronSim
from google.protobuf import timestamp_pb2
from keelson.jobs.v1 import jobs_pb2 as jobs
from keelson.jobs.v1 import jobs_pb2_grpc as jobs_grpc

ZONES = [
    "UTC",
    "Europe/Riga",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "America/Sao_Paulo",
]
EXPRESSIONS = int(os.environ.get("KEELSON_CRON_EXPRESSIONS", 2000))
TIMES = 6
MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()
DAYS = "SUN MON TUE WED THU FRI SAT".split()
UTC = datetime.timezone.utc


class Expressions:
    """Random expressions of the grammar in docs/jobs.md."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def value(self, number, low, names):
        if names and self.random.random() < 0.3 and number - low < len(names):
            return names[number - low]
        return str(number)

    def term(self, low, high, names):
        kind = self.random.random()
        if kind < 0.15:
            return f"*/{self.random.randint(1, high)}"
        if kind < 0.55:
            return self.value(self.random.randint(low, high), low, names)
        first, last = sorted(self.random.sample(range(low, high + 1), 2))
        text = f"{self.value(first, low, names)}-{self.value(last, low, names)}"
        return f"{text}/{self.random.randint(1, max(1, high // 2))}" if kind > 0.8 else text

    def field(self, low, high, star, names=()):
        if self.random.random() < star:
            return "*"
        terms = self.random.choice([1, 1, 1, 2, 3])
        return ",".join(self.term(low, high, names) for _ in range(terms))

    def expression(self):
        return " ".join(
            [
                self.field(0, 59, 0.2),
                self.field(0, 23, 0.25),
                self.field(1, 31, 0.5),
                self.field(1, 12, 0.6, MONTHS),
                self.field(0, 6, 0.6, DAYS),
            ]
        )

    def start(self, zone):
        """A second of the years 2008 to 2033; half of the time shortly ahead of a change of the
        clock."""
        if zone != "UTC" and self.random.random() < 0.5:
            changes = transitions(zone)
            if changes:
                return self.random.choice(changes) - self.random.randint(0, 86_400)
        return self.random.randint(1_199_145_600, 2_019_686_400)


def offset(zone, moment):
    there = datetime.datetime.fromtimestamp(moment, zoneinfo.ZoneInfo(zone))
    return int(there.utcoffset().total_seconds())


cache = {}


def transitions(zone):
    """The seconds at which a zone's offset changes, 2008 to 2033."""
    if zone not in cache:
        found = []
        for day in range(1_199_145_600, 2_019_686_400, 86_400):
            if offset(zone, day) != offset(zone, day + 86_400):
                low, high = day, day + 86_400
                while high - low > 1:
                    middle = (low + high) // 2
                    if offset(zone, middle) == offset(zone, low):
                        low = middle
                    else:
                        high = middle
                found.append(high)
        cache[zone] = found
    return cache[zone]


class Policy:
    """The written policy, by trying one day after the other."""

    def __init__(self, expression, zone):
        minute, hour, day, month, weekday = expression.split()
        self.zone = zone
        self.minutes = self.numbers(minute, 0, 59)
        self.hours = self.numbers(hour, 0, 23)
        self.days = self.numbers(day, 1, 31)
        self.months = self.numbers(month, 1, 12, MONTHS)
        self.weekdays = {n % 7 for n in self.numbers(weekday, 0, 6, DAYS)}
        self.both = day.startswith("*") or weekday.startswith("*")
        self.follows = minute.startswith("*") or hour.startswith("*")

    @staticmethod
    def numbers(text, low, high, names=()):
        def number(word):
            return names.index(word) + low if word in names else int(word)

        found = set()
        for term in text.split(","):
            span, _, step = term.partition("/")
            if span == "*":
                first, last = low, high
            elif "-" in span:
                first, last = map(number, span.split("-"))
            else:
                first = number(span)
                last = high if step else first
            found.update(range(first, last + 1, int(step or 1)))
        return found

    def matches(self, date):
        if date.month not in self.months:
            return False
        is_day = date.day in self.days
        is_weekday = date.isoweekday() % 7 in self.weekdays
        return (is_day and is_weekday) if self.both else (is_day or is_weekday)

    def moments(self, wall):
        """The moments at which the clock shows a time; for a fixed one that it skips, the moment of
        the skip."""
        found = sorted(
            moment
            for each in {offset(self.zone, wall + d) for d in (-172_800, -90_000, 0, 90_000)}
            for moment in [wall - each]
            if offset(self.zone, moment) == each
        )
        if self.follows:
            return found
        if found:
            return found[:1]
        return [
            change
            for change in transitions(self.zone)
            if change + offset(self.zone, change - 1) <= wall < change + offset(self.zone, change)
        ]

    def times(self, start, count):
        found = set()
        date = datetime.datetime.fromtimestamp(start, UTC).date() - datetime.timedelta(2)
        while date.year < 2050:
            if self.matches(date):
                midnight = int(datetime.datetime(*date.timetuple()[:3], tzinfo=UTC).timestamp())
                for hour, minute in itertools.product(self.hours, self.minutes):
                    found.update(self.moments(midnight + hour * 3600 + minute * 60))
                # Days overlap by no more than a day.
                after = sorted(moment for moment in found if moment > start)
                if len(after) >= count and after[count - 1] < midnight - 90_000:
                    return after[:count]
            elif found:
                midnight = int(datetime.datetime(*date.timetuple()[:3], tzinfo=UTC).timestamp())
                after = sorted(moment for moment in found if moment > start)
                if len(after) >= count and after[count - 1] < midnight - 90_000:
                    return after[:count]
            date += datetime.timedelta(1)
        return sorted(moment for moment in found if moment > start)[:count]


def told(iterator):
    """What an oracle says; None when it refuses."""
    try:
        return [int(next(iterator).timestamp()) for _ in range(TIMES)]
    except Exception:
        return None


def oracles(expression, zone, start):
    there = datetime.datetime.fromtimestamp(
        start, UTC if zone == "UTC" else zoneinfo.ZoneInfo(zone)
    )
    try:
        first = told(CronSim(expression, there))
    except Exception:
        first = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            steps = croniter(
                expression,
                there,
                ret_type=datetime.datetime,
                max_years_between_matches=60,
                implement_cron_bug=True,
            )
            second = told(iter(lambda: steps.get_next(datetime.datetime), None))
    except Exception:
        second = None
    return first, second


@pytest.fixture
def preview(client):
    service = jobs_grpc.JobsServiceStub(client.channel)

    def preview(expression, zone, start, count=TIMES):
        answer = service.PreviewSchedule(
            jobs.PreviewScheduleRequest(
                cron=expression,
                time_zone=zone,
                count=count,
                after=timestamp_pb2.Timestamp(seconds=start),
            ),
            timeout=20,
        )
        return [each.seconds for each in answer.times]

    return preview


def test_random_expressions_run_when_others_say(preview, terminal):
    made = Expressions(seed=20_261_126)
    counts = collections.Counter()
    for _ in range(EXPRESSIONS):
        expression, zone = made.expression(), made.random.choice(ZONES)
        start = made.start(zone)
        first, second = oracles(expression, zone, start)
        case = f"{expression} in {zone} after {start}"
        if first is None and second is None:
            # A day that no month has.
            with pytest.raises(Exception, match="none of the months"):
                preview(expression, zone, start)
            counts["refused by all"] += 1
            continue
        ours = preview(expression, zone, start)
        if first == second == ours:
            counts["agreed"] += 1
            continue
        policy = Policy(expression, zone).times(start, TIMES)
        assert ours == policy, case
        if first == second:
            # Both run what follows the clock at a time that does not match it, when midnight is
            # skipped.
            extra = set(first) - set(ours)
            assert Policy(expression, zone).follows and extra, case
            shown = {
                datetime.datetime.fromtimestamp(each, zoneinfo.ZoneInfo(zone)).hour
                for each in extra
            }
            assert shown.isdisjoint(Policy(expression, zone).hours), case
            counts["both against the policy"] += 1
        else:
            counts["they differ"] += 1
    terminal(
        f"{EXPRESSIONS} cron expressions: "
        + ", ".join(f"{name} {number}" for name, number in counts.most_common())
    )
    assert counts["agreed"] > EXPRESSIONS * 0.9
    assert counts["both against the policy"] < EXPRESSIONS * 0.002
