"""What a turn's calls of models cost it."""

from coe_core.service import Embedder
from coe_core.testing import make_turn, scripted_application


async def test_a_question_that_several_parts_seek_is_embedded_once_a_turn() -> None:
    application = scripted_application()
    embedder = application.need(Embedder)
    turn, other = (make_turn(application=application) for _ in range(2))

    sought = [
        await embedder.embed([text], purpose=purpose, parent=parent)
        for text, purpose, parent in (
            ("how?", "query", turn),
            ("how?", "query", turn),
            ("why?", "query", turn),
            ("how?", "passage", turn),
            ("how?", "passage", turn),
            ("how?", "query", other),
        )
    ]

    assert sought[0] == sought[1] == sought[5] != sought[2]
    assert len(turn.ledger.attempts) == 4  # One question saved; passages are what jobs embed.
    assert len(other.ledger.attempts) == 1
