"""A plugin in Python: proof that the contract is not Rust's alone.

Its venue speaks `ID PRICE MILLISECONDS` as text frames and wants `subscribe ID`. Build it with componentize-py against
`wit/`, world `websocket-provider`; see `.ci/python-plugin`.
"""

from wit_world import exports
from wit_world.imports import description, streaming, types
from componentize_py_types import Err

keys = {}


class Describe(exports.Describe):
    def describe(self):
        return description.Description(
            name="python-example",
            version="0.1.0",
            summary="An example in Python",
            documentation="https://example.com",
            origins=["wss://python.example.com"],
            mirrors=[],
            values=[types.ValueKind.LAST_TRADE],
            default_ids=["a"],
            settings_schema="{}",
            secrets=[],
            # The interpreter alone takes tens of megabytes.
            resources=description.Resources(128, None, None, None, None),
            buckets=[],
            websocket=description.WebsocketLimits(
                ids_per_connection=None,
                max_connections=None,
                ids_per_message=None,
                heartbeat=None,
                idle_timeout_ms=None,
                max_age_ms=None,
                first_send_delay_ms=0,
                waits_for_ready=False,
                compression=description.Compression.NONE,
                acknowledges=False,
            ),
            http=None,
        )

    def configure(self, settings):
        print("configured with", settings)
        return types.ValueKind.LAST_TRADE


class Websocket(exports.Websocket):
    def connect(self, context, subscriptions, previous):
        return streaming.Step_Dial(
            streaming.Endpoint("wss://python.example.com/", [], [], None, None)
        )

    def subscribe(self, context, subscriptions):
        for each in subscriptions:
            keys[each.id] = each.key
        return [types.Frame_Text("subscribe " + each.id) for each in subscriptions]

    def unsubscribe(self, context, subscriptions):
        return []

    def heartbeat(self, context):
        return []

    def handle_messages(self, context, received, ends):
        is_text = isinstance(received, streaming.Received_Text)
        whole = received.value.encode() if is_text else received.value
        events, start = [], 0
        for index, end in enumerate([len(whole)] if ends is None else ends):
            parts = whole[start:end].decode().split(" ") if is_text else []
            start = end
            if len(parts) != 3 or parts[0] not in keys or not parts[2].isdigit():
                events.append(streaming.Event_Malformed(streaming.MalformedFrame(index, "expected ID PRICE MS")))
                continue
            observation = types.Observation(
                keys[parts[0]], types.Value_Literal(parts[1]), types.Timestamp_Millis(int(parts[2])), None
            )
            events.append(streaming.Event_Observed(observation))
        return events
