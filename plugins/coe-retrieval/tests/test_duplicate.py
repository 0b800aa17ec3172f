"""Near duplicates are linked, unless they say different things."""

import pytest
from coe_retrieval.duplicate import Duplicates, alike

LONG = (
    "정규직 구성원은 연차를 사용하기 3일 전까지 미르포털 근태 메뉴에서 신청하고 팀장의 승인을 "
    "받아야 하며 갑작스러운 사정이 생기면 메신저로 먼저 알린 다음 사후에 결재를 올린다"
)
BADGE = (
    "the badge office is on the second floor and takes two days for a new badge, so bring your "
    "employee number, a passport photo and the form that your team lead has signed for you"
)


def linked(*texts: str) -> list[int]:
    duplicates = Duplicates()
    for number, text in enumerate(texts):
        duplicates.add(number, text)
    return [duplicates.first(number) for number in range(len(texts))]


def test_the_same_in_other_punctuation_is_a_near_duplicate() -> None:
    assert linked(LONG, LONG + ".", "커피 머신은 3층에 있다") == [0, 0, 2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (LONG, LONG.replace("3일", "5일")),
        (LONG, LONG.replace("3일", "사흘")),
        (LONG.replace("3일", "이틀"), LONG.replace("3일", "사흘")),
        (LONG.replace("3일", "두 주"), LONG.replace("3일", "세 주")),
        (LONG.replace("3일", "삼 일"), LONG.replace("3일", "오 일")),
        (BADGE, BADGE.replace("second", "third")),
        (BADGE, BADGE.replace("two days", "three days")),
        (LONG, LONG.replace("받아야 하며", "받지 않아도 되며")),
        ("Ask Kim before you deploy it at night", "Ask Lee before you deploy it at night"),
        ("Never deploy it at night or on a weekend day", "Deploy it at night or on a weekend day"),
        ("The service API is ready for you", "The service CLI is ready for you"),
    ],
)
def test_another_number_negation_or_name_is_another_text(one: str, other: str) -> None:
    assert not alike(one, other)
    assert linked(one, other) == [0, 1]


def test_links_survive_the_first_of_them() -> None:
    duplicates = Duplicates()
    for number in range(3):
        duplicates.add(number, LONG)
    duplicates.remove(0)
    assert duplicates.first(1) == duplicates.first(2)
