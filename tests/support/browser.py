#!/usr/bin/env python3
"""Opens a page in a headless Chromium and does what it is told by the DevTools protocol, spoken through a pipe.

browser.py URL < STEPS: a JSON array of {"eval": SCRIPT}, {"click": SELECTOR}, {"key": NAME},
{"look": {"width", "height", "scheme", "media"}} or {"shot": PATH}. Prints {"results": what each eval came to, "requests": addresses
asked for, "messages": what the console, the log or an uncaught error said}."""
import base64, itertools, json, os, subprocess, sys, tempfile

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe"]


class Browser:
    def __init__(self, home):
        (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4; copies that cannot be either of them come first.
        copies = [os.dup(fd) for fd in (theirs_in, theirs_out)] if {3, 4} & {theirs_in, theirs_out} else [theirs_in, theirs_out]
        while set(copies) & {3, 4}:
            copies = [os.dup(fd) for fd in copies]

        def place():
            for fd, number in zip(copies, (3, 4)):
                os.dup2(fd, number)

        self.child = subprocess.Popen(["chromium", *FLAGS, f"--user-data-dir={home}", "about:blank"], preexec_fn=place,
                                      close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for fd in {theirs_in, theirs_out, *copies}:
            os.close(fd)
        self.to, self.of = os.fdopen(ours_out, "wb", 0), os.fdopen(ours_in, "rb")
        self.ids, self.session, self.rest, self.events = itertools.count(1), None, b"", []

    def take(self):
        while b"\0" not in self.rest:
            more = self.of.read1(1 << 16)
            if not more:
                sys.exit("chromium has ended")
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        number = next(self.ids)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.to.write(json.dumps(message).encode() + b"\0")
        while (answer := self.take()).get("id") != number:
            self.events.append(answer)
        if "error" in answer:
            sys.exit(f"{method}: {answer['error']}")
        return answer["result"]

    def wait(self, event):
        while not any(e.get("method") == event for e in self.events):
            self.events.append(self.take())

    def eval(self, script):
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            sys.exit(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def click(self, selector):
        place = self.eval(f"""(() => {{ const e = document.querySelector({json.dumps(selector)});
            e.scrollIntoView({{block: "center", behavior: "instant"}}); const r = e.getBoundingClientRect();
            return {{x: r.x + Math.min(r.width, 40) / 2, y: r.y + r.height / 2}} }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def look(self, width=1280, height=900, scheme="light", media="screen"):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])

    def shot(self, path):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 6000), "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def open(self, url):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.look()
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait("Page.loadEventFired")

    def told(self):
        requests, messages = [], []
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method == "Network.requestWillBeSent":
                requests.append(params["request"]["url"])
            elif method == "Runtime.consoleAPICalled":
                messages.append(str(params["args"]))
            elif method == "Runtime.exceptionThrown":
                messages.append(str(params["exceptionDetails"]))
            elif method == "Log.entryAdded":
                messages.append(params["entry"]["text"])
        return requests, messages


def main():
    steps, results = json.load(sys.stdin), []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        browser = Browser(home)
        try:
            browser.open(sys.argv[1])
            for step in steps:
                (kind, what), = step.items()
                if kind == "eval":
                    results.append(browser.eval(what))
                elif kind == "key":
                    for press in ("keyDown", "keyUp"):
                        browser.call("Input.dispatchKeyEvent", type=press, key=what, code=what)
                elif kind == "look":
                    browser.look(**what)
                else:
                    {"click": browser.click, "shot": browser.shot}[kind](what)
            browser.eval("0")
            requests, messages = browser.told()
        finally:
            browser.child.kill()
            browser.child.wait()
    print(json.dumps({"results": results, "requests": requests, "messages": messages}))


if __name__ == "__main__":
    main()
