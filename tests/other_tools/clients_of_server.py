"""Clients that others wrote, against a server of the demo model: `python clients_of_server.py CHECK URL FOLDER`.

It runs in the environment of the clients. Every check is a function.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

MODEL = "shakespeare-nano"
SAID = "Who is there?"
BIN = Path(sys.executable).parent


def with_openai(url: str, folder: Path) -> None:
    """Answers as a whole, as a stream and awaited; likelihoods; typed errors."""
    import openai

    client = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0)
    assert [one.id for one in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    asked = {"model": MODEL, "messages": [{"role": "user", "content": SAID}], "temperature": 0, "max_tokens": 20}
    answer = client.chat.completions.create(**asked, logprobs=True, top_logprobs=2)
    choice = answer.choices[0]
    assert (choice.finish_reason, answer.usage.completion_tokens, choice.message.role) == ("length", 20, "assistant")
    assert "".join(one.token for one in choice.logprobs.content) == choice.message.content
    assert all(len(one.top_logprobs) == 2 for one in choice.logprobs.content)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage.total_tokens == answer.usage.total_tokens
    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert text == choice.message.content
    stop = text[5:8]
    stopped = client.chat.completions.create(**asked, stop=[stop], seed=1, user="x", metadata={"a": "b"})
    assert stopped.choices[0].message.content == text[: text.index(stop)]
    assert stopped.choices[0].finish_reason == "stop"
    with client.chat.completions.stream(**asked, stop=[stop]) as whole:  # it refuses answers that a limit ends
        whole.until_done()
        assert whole.get_final_completion().choices[0].message.content == text[: text.index(stop)]
    completion = client.completions.create(model=MODEL, prompt="ROMEO:", temperature=0, max_tokens=8, logprobs=1)
    assert "".join(completion.choices[0].logprobs.tokens) == completion.choices[0].text
    for kind, wrong in ((openai.NotFoundError, {"model": "other"}), (openai.BadRequestError, {"n": 2}),
                        (openai.BadRequestError, {"response_format": {"type": "json_object"}}),
                        (openai.BadRequestError, {"messages": [{"role": "user", "content": SAID * 300}]})):
        raised = None
        try:
            client.chat.completions.create(**asked | wrong)
        except kind as error:
            raised = error
        assert raised is not None, wrong
        assert raised.body["message"]

    async def together() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="none") as awaited:
            answers = await asyncio.gather(*(awaited.chat.completions.create(**asked) for _ in range(6)))
        return [one.choices[0].message.content for one in answers]

    assert asyncio.run(together()) == [text] * 6


def with_langchain(url: str, folder: Path) -> None:
    """Messages, a stream, several prompts at a time, and a chain."""
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_openai import ChatOpenAI, OpenAI

    chat = ChatOpenAI(base_url=url + "/v1", api_key="none", model=MODEL, temperature=0, max_tokens=16)
    answer = chat.invoke([("system", "Speak."), ("human", SAID)])
    assert answer.usage_metadata["output_tokens"] == 16
    parts = list(chat.stream([("system", "Speak."), ("human", SAID)]))
    assert "".join(one.content for one in parts) == answer.content
    assert [one.content for one in chat.batch([[("system", "Speak."), ("human", SAID)]] * 4)] == [answer.content] * 4
    chain = ChatPromptTemplate.from_messages([("system", "{how}"), ("human", "{what}")]) | chat | StrOutputParser()
    assert chain.invoke({"how": "Speak.", "what": SAID}) == answer.content
    assert OpenAI(base_url=url + "/v1", api_key="none", model=MODEL, temperature=0, max_tokens=4).invoke("ROMEO:")


def with_llm(url: str, folder: Path) -> None:
    """The program, as docs/server.md sets it up: a prompt, a system prompt, and the conversation continued."""
    (folder / "extra-openai-models.yaml").write_text(
        f"- model_id: fpga\n  model_name: {MODEL}\n  api_base: {url}/v1\n")
    environment = os.environ | {"LLM_USER_PATH": str(folder), "OPENAI_API_KEY": "none"}

    def llm(*arguments: str) -> str:
        run = subprocess.run([BIN / "llm", *arguments], env=environment, capture_output=True, text=True, check=False,
                             timeout=100)
        assert not run.returncode, run.stderr
        return run.stdout

    settings = ("-m", "fpga", "-o", "temperature", "0", "-o", "max_tokens", "12")
    first = llm(*settings, "-s", "Speak.", SAID)
    assert first.strip()
    assert llm(*settings, "--no-stream", "-s", "Speak.", SAID).strip() == first.strip()
    assert llm("-c", "-o", "max_tokens", "12", "And then?").strip()
    assert len(json.loads(llm("logs", "--json"))) == 3


def with_schemathesis(url: str, folder: Path) -> None:
    """Whatever the description allows, and what it does not, gets an answer that the description allows."""
    run = subprocess.run(
        [BIN / "st", "run", url + "/openapi.json", "--seed", "1", "--max-examples", "40", "--request-timeout", "60",
         "--checks", "all", "--exclude-checks", "positive_data_acceptance",  # what does not exist yet is refused
         "--exclude-path", "/metrics", "--no-color"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=1500)
    print(run.stdout[-6000:])
    assert not run.returncode, run.stdout[-6000:] + run.stderr[-2000:]


CHECKS = {check.__name__.removeprefix("with_"): check
          for check in (with_openai, with_langchain, with_llm, with_schemathesis)}

if __name__ == "__main__":
    CHECKS[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
