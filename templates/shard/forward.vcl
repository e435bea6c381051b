
	if ((req.method == "GET" || req.method == "HEAD") && !req.http.Authorization && !req.http.Cookie) {
		return (hash);
	}
	if (req.method == "CONNECT" || req.method == "PRI") {
		return (synth(405));
	}
	return (pass);