"""A death between the signer's answer and the row that keeps it."""

from __future__ import annotations

import pytest

from keys.testing import TEST_MNEMONIC
from tests.selfcustody.own_stage import PASSPHRASE, Stage
from wallet import crashpoints, selfcustody
from wallet.selfcustody import AskDraft, SelfCustodyWorker


class Death(BaseException):
    """The worker ends here."""


@pytest.mark.crash
@pytest.mark.parametrize("signer_too", [False, True])
async def test_a_death_before_an_answer_is_kept_ends_the_question_and_a_new_one_is_answered(
    stage: Stage, signer_too: bool
) -> None:
    """The signer answers no box twice: nothing is kept of the first, the person asks anew."""
    ada = await stage.seam.person()
    asked = {"mnemonic": TEST_MNEMONIC, "passphrase": PASSPHRASE, "index": 7}
    nonce, box, _ = await stage.box("import", ada, asked)
    async with stage.seam.db.transaction() as session:
        request = await selfcustody.ask(
            session, principal_id=ada, draft=AskDraft("import", nonce, box, "My own")
        )

    def die(name: str) -> None:
        if name == "selfcustody.before_commit_answered":
            raise Death(name)

    crashpoints.install(die)
    try:
        with pytest.raises(Death):
            await stage.worker.tick()
    finally:
        crashpoints.install(None)
    if signer_too:
        stage.restart()
    else:
        stage.worker = SelfCustodyWorker(stage.seam.db, {"local": stage.seam.chain}, stage.relay)
    await stage.worker.tick()
    async with stage.seam.db.transaction() as session:
        told = await selfcustody.get_request(session, principal_id=ada, request_id=request)
        kept = await selfcustody.accounts(session, principal_id=ada)
    assert (told.state, told.reply, kept) == ("refused", None, [])
    account = await stage.imported(ada)
    await stage.seam.pay_in(account.address, "100", "USDC")
    made = await stage.begin(ada, account, "30", "USDC")
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "settled"
