"""Uses the generated client: registers a device, sends to it, reads what became of it, and is told of a mistake."""

import os

from httpx import Timeout
from push_client import AuthenticatedClient
from push_client.api.devices import register_device
from push_client.api.history import get_notification
from push_client.api.sending import send_to_customer
from push_client.models import (
    Code,
    Done,
    ErrorBody,
    Notification,
    RegisterRequest,
    RegisterRequestPlatform,
    SendAnswer,
    SendAnswerStatus,
    SendToCustomerRequest,
)

CUSTOMER = 123


def main() -> None:
    client = AuthenticatedClient(os.environ["PUSH_URL"], token=os.environ["PUSH_API_KEY"], timeout=Timeout(30))

    device = RegisterRequest(
        user_type="customer",
        id=CUSTOMER,
        platform=RegisterRequestPlatform.ANDROID,
        fcm_token=os.environ["PUSH_FCM_TOKEN"],
        device_id="python",
    )
    registered = register_device.sync(client=client, body=device)
    assert isinstance(registered, Done) and registered.success, registered

    request = SendToCustomerRequest(id=CUSTOMER, title="Hello", body="From a generated client 🐍")
    sent = send_to_customer.sync(client=client, body=request, prefer="wait=20")
    assert isinstance(sent, SendAnswer), sent
    assert sent.status == SendAnswerStatus.SENT, sent

    found = get_notification.sync(sent.notification_id, client=client)
    assert isinstance(found, Notification), found
    assert found.customer_id == CUSTOMER and found.title == "Hello", found
    assert [delivery.device_id for delivery in found.deliveries] == ["python"], found

    refused = send_to_customer.sync_detailed(
        client=client, body=SendToCustomerRequest(id=CUSTOMER, title="", body="")
    )
    error = refused.parsed
    assert refused.status_code == 400 and isinstance(error, ErrorBody), refused
    assert error.code == Code.INVALID_INPUT, error
    assert {problem.field for problem in error.errors or []} == {"title", "body"}, error


main()
