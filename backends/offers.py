"""Servers that a user may add: what each is called, which kind of backend speaks to it, and where it usually is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Offer:
    """A kind of server that can be added."""

    title: str
    kind: str
    address: str
    hint: str = ""
    """How to get its address or key."""


OFFERS: tuple[Offer, ...] = (
    Offer("Ollama", "ollama", "http://localhost:11434", "Start it with: ollama serve"),
    Offer("vLLM", "vllm", "http://localhost:8000", "Start it with: vllm serve MODEL"),
    Offer("InstructLab", "instructlab", "http://localhost:8000", "Start it with: ilab model serve"),
    Offer("Google Gemini", "gemini", "https://generativelanguage.googleapis.com", "Needs a key of Google AI Studio."),
    Offer("llama.cpp", "openai", "http://localhost:8080", "Start it with: llama-server -m MODEL.gguf"),
    Offer("LM Studio", "openai", "http://localhost:1234/v1", "Start its server in the Developer tab."),
    Offer("LocalAI", "openai", "http://localhost:8080/v1"),
    Offer("SGLang", "openai", "http://localhost:30000/v1"),
    Offer("LiteLLM", "openai", "http://localhost:4000", "Needs its master key or a virtual key."),
    Offer("OpenRouter", "openai", "https://openrouter.ai/api/v1", "Needs a key of OpenRouter."),
    Offer("OpenAI", "openai", "https://api.openai.com/v1", "Needs a key of the OpenAI platform."),
    Offer("Azure OpenAI", "openai", "https://RESOURCE.openai.azure.com/openai/v1", "Needs a key of the resource."),
    Offer("Another server with OpenAI's protocol", "openai", "http://localhost:8000/v1"),
)
