
	if (req.method == "CONNECT" || req.method == "PRI") {
		return (synth(405));
	}
	return (pass);