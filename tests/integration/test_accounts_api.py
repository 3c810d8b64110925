"""x"""
def test_register(api):
    r = api.post("/api/auth/register", json={"email": "Ana@Example.com", "password": "12345678"})
    assert r.status_code == 201, r.text
    assert r.json()=={}
