"""An ordinary API that tells each customer what happens to their orders, on every device they have open.

    openline run examples.orders:app

The same dependency says who somebody is, for the routes and for the hub. The server puts each customer into a channel
of their own, so the page subscribes to nothing; who was away gets what happened meanwhile.
"""

from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, status
from fastapi.security import OAuth2PasswordBearer
from pydantic import BaseModel

from openline import Accept, History, Hub, PermissionDenied

TOKENS = {"token-of-ada": "ada", "token-of-bob": "bob"}


class Order(BaseModel):
    number: int
    customer: str
    state: str = "taken"


async def get_customer(token: Annotated[str, Depends(OAuth2PasswordBearer(tokenUrl="token"))]) -> str:
    if token not in TOKENS:
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, "unknown token")
    return TOKENS[token]


Customer = Annotated[str, Depends(get_customer)]

app = FastAPI()
hub = Hub()
app.include_router(hub.router)
news = hub.channel("customer:{customer}", Order, history=History(size=100, seconds=86_400))
orders: dict[int, Order] = {}


@hub.on_connect
async def welcome(customer: Customer) -> Accept:
    return Accept(user=customer, channels=[news.name(customer=customer)])


@news.on_subscribe
async def only_by_the_server() -> None:
    raise PermissionDenied("the server subscribes you")


@app.post("/orders", status_code=status.HTTP_201_CREATED)
async def take(customer: Customer) -> Order:
    order = Order(number=len(orders) + 1, customer=customer)
    orders[order.number] = order
    await news.publish(order, customer=customer)
    return order


@app.put("/orders/{number}/state")
async def change(number: int, state: str) -> Order:
    if number not in orders:
        raise HTTPException(status.HTTP_404_NOT_FOUND)
    order = orders[number] = orders[number].model_copy(update={"state": state})
    # Told twice, as by a retry, it is published once.
    await news.publish(order, customer=order.customer, idempotency_key=f"{number} {state}")
    return order


@app.post("/customers/{customer}/sign-out")
async def sign_out(customer: str) -> None:
    await hub.user(customer).disconnect()
