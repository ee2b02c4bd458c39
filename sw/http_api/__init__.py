"""HTTP interface of the engine in sw/serve/, in the form of OpenAI's API. Needs the packages of the extra `server`."""
