package msid

// aadstsTable holds the errors of Microsoft's reference that the product may
// meet: entra-docs, reference-error-codes.md, with the error words seen in
// public reports. A status of 0 stands for 400.
func aadstsTable() []aadsts {
	return append(append(appRows(), requestRows()...), append(ownerRows(), serviceRows()...)...)
}

func appRows() []aadsts {
	return []aadsts{
		{7000215, 401, clientError, "", "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID."},
		{70002, 401, clientError, "", "Error validating credentials."},
		{7000222, 401, clientError, "", "The provided client secret keys are expired."},
		{7000218, 401, clientError, "", "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."},
		{700025, 401, clientError, "", "Client is public so neither 'client_assertion' nor 'client_secret' should be presented."},
		{700027, 401, clientError, "", "Client assertion failed signature validation."},
		{700021, 401, clientError, "", "Client assertion application identifier doesn't match 'client_id' parameter."},
		{700023, 401, clientError, "", "Client assertion audience claim does not match Realm issuer."},
		{700024, 401, clientError, "", "Client assertion is not within its valid time range."},
		{50012, 401, clientError, "", "Authentication failed."},
		{700030, 401, clientError, "", "Invalid certificate - subject name in certificate isn't authorized."},
		{700016, 400, unauthorized, "", "Application was not found in the directory. You may have sent your authentication request to the wrong tenant."},
		{700011, 400, unauthorized, "", "Application was not found in the directory."},
		{70001, 400, unauthorized, "", "The application is disabled."},
		{7000112, 400, unauthorized, "", "Application is disabled."},
		{90002, 400, requestError, "", "Tenant was not found. Check to make sure you have the correct tenant ID."},
		{50194, 400, requestError, "", "Application isn't configured as a multitenant application. Usage of the /common endpoint isn't supported for such apps."},
		{9002331, 400, requestError, "", "Application is configured for use by Microsoft account users only. Please use the /consumers endpoint."},
		{9002332, 400, requestError, "", "Application is configured for use by Azure Active Directory users only. Please do not use the /consumers endpoint."},
		{50011, 400, clientError, "", "The redirect URI specified in the request does not match the redirect URIs configured for the application."},
		{500112, 400, clientError, "", "The reply address does not match the reply address provided when requesting Authorization code."},
		{900971, 400, requestError, "", "No reply address provided."},
		{70004, 400, requestError, "", "The redirect URI is invalid."},
		{650052, 400, unauthorized, "", "The app needs access to a service that your organization has not subscribed to or enabled."},
		{650056, 400, unauthorized, "", "Misconfigured application."},
		{65005, 400, resourceError, "", "The application required resource access list does not contain applications discoverable by the resource."},
		{500011, 400, resourceError, "", "The resource principal was not found in the tenant."},
		{90038, 400, requestError, "", "Tenant belongs to a national cloud; use that cloud's endpoint."},
		{900439, 400, requestError, "", "US Government cloud tenants are not supported on the public endpoint."},
		{900432, 400, requestError, "", "Confidential Client is not supported in Cross Cloud request."},
		{900382, 400, requestError, "", "Confidential Client is not supported in Cross Cloud request."},
	}
}

func requestRows() []aadsts {
	return []aadsts{
		{70011, 400, scopeError, "", "The provided value for the input parameter 'scope' is not valid."},
		{28002, 400, scopeError, "", "Provided value for the input parameter scope isn't valid when requesting an access token."},
		{28003, 400, scopeError, "", "Provided value for the input parameter scope can't be empty when requesting an access token using the provided authorization code."},
		{700022, 400, scopeError, "", "The provided value for the input parameter scope isn't valid because it contains more than one resource."},
		{900144, 400, requestError, "", "The request body must contain a parameter that is missing."},
		{90014, 400, requestError, "", "The required field is missing from the credential."},
		{9002313, 400, grantError, "", "Invalid request. Request is malformed or invalid."},
		{90004, 400, requestError, "", "The request isn't properly formatted."},
		{90023, 400, requestError, "", "Invalid request: a parameter has a value that is not supported."},
		{900561, 400, requestError, "", "The endpoint only accepts POST requests. Received a GET request."},
		{70003, 400, "unsupported_grant_type", "", "The app returned an unsupported grant type."},
		{70005, 400, "unsupported_response_type", "", "The app returned an unsupported response type."},
		{50147, 400, requestError, "", "Invalid size of Code_Challenge parameter."},
		{501491, 400, requestError, "", "Invalid size of Code_Verifier parameter."},
		{501481, 400, grantError, "", "The Code_Verifier does not match the code_challenge supplied in the authorization request."},
		{700005, 400, grantError, "", "Provided Authorization Code is intended to use against other tenant, thus rejected."},
		{7000012, 400, grantError, "", "The grant was obtained for a different tenant."},
		{54005, 400, grantError, "", "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token."},
		{70008, 400, grantError, "", "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource."},
		{70000, 400, grantError, "", "The provided grant is invalid, expired or revoked."},
	}
}

func ownerRows() []aadsts {
	return []aadsts{
		{700082, 400, grantError, "", "The refresh token has expired due to inactivity. The token was inactive for 90.00:00:00."},
		{700084, 400, grantError, "", "The refresh token was issued to a single page app (SPA), and therefore has a fixed, limited lifetime of 1.00:00:00."},
		{70043, 400, grantError, "token_expired", "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access."},
		{50173, 400, grantError, "bad_token", "The provided grant has expired due to it being revoked, a fresh auth token is needed."},
		{50089, 400, grantError, "", "Authentication failed due to flow token expired."},
		{50132, 400, grantError, "", "The session is not valid: the password expired or was changed recently."},
		{50133, 400, grantError, "", "Session is invalid due to expiration or recent password change."},
		{65001, 400, grantError, "consent_required", "The user or administrator has not consented to use the application."},
		{65004, 400, deniedError, "", "User declined to consent to access the app."},
		{90094, 400, deniedError, "", "An administrator of the organization has set a policy that prevents you from granting the application the permissions it is requesting."},
		{90095, 400, deniedError, "", "Admin consent is required; the user requested it from an administrator."},
		{50076, 400, interactionError, "basic_action", "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access the resource."},
		{50079, 400, interactionError, "basic_action", "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication."},
		{50072, 400, interactionError, "basic_action", "You must enroll in multi-factor authentication to access the resource."},
		{50074, 400, interactionError, "basic_action", "Strong authentication is required and the user did not pass the MFA challenge."},
		{50078, 400, interactionError, "basic_action", "Presented multi-factor authentication has expired due to policies configured by your administrator."},
		{50158, 400, interactionError, "basic_action", "External security challenge was not satisfied."},
		{53000, 400, interactionError, "device_authentication_failed", "Device is not in required device state: compliant."},
		{53001, 400, interactionError, "device_authentication_failed", "Device is not in required device state: domain_joined."},
		{53002, 400, interactionError, "protection_policy_required", "The app used is not an approved app for Conditional Access."},
		{53003, 400, interactionError, "message_only", "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance."},
		{53004, 400, interactionError, "message_only", "The user needs to complete the multi-factor authentication registration process before accessing this content."},
		{53011, 400, interactionError, "message_only", "User blocked due to risk on home tenant."},
		{530032, 400, grantError, "message_only", "Blocked by security policy."},
		{530035, 400, grantError, "message_only", "Access has been blocked by security defaults."},
		{50105, 400, grantError, "", "The signed in user is not assigned to a role for the application."},
		{50020, 400, grantError, "", "User account from identity provider does not exist in tenant and cannot access the application in that tenant."},
		{50034, 400, grantError, "", "The user account does not exist in the directory."},
		{51004, 400, grantError, "", "The user account does not exist in the directory."},
		{16000, 400, interactionError, "", "Either multiple user identities are available for the current request or selected account is not supported for the scenario."},
		{500208, 400, grantError, "", "The domain is not a valid login domain for the account type."},
		{50057, 400, grantError, "", "The user account is disabled."},
		{50053, 400, grantError, "", "The account is locked, you've tried to sign in too many times with an incorrect user ID or password."},
		{50126, 400, grantError, "", "Error validating credentials due to invalid username or password."},
		{50055, 400, grantError, "user_password_expired", "The password is expired."},
		{50058, 400, loginError, "", "A silent sign-in request was sent but no user is signed in."},
	}
}

func serviceRows() []aadsts {
	return []aadsts{
		{50196, 400, grantError, "", "The server terminated an operation because it encountered a client request loop. Please contact your app vendor."},
		{90055, 400, requestError, "", "The server terminated an operation because there are too many requests."},
		{90033, 503, unavailableError, "", "A transient error has occurred. Please try again."},
		{90006, 503, serverError, "", "The service is temporarily unavailable. Please retry later."},
		{90012, 503, unavailableError, "", "The request has timed out."},
		{90024, 503, unavailableError, "", "A transient error has occurred while retrieving the request budget. Please try again."},
		{90090, 503, unavailableError, "", "A transient error has occurred in the Graph call. Please try again."},
		{50033, 503, unavailableError, "", "A transient error has occurred. Please try again."},
		{50087, 503, unavailableError, "", "A transient error has occurred during single sign-out. Please try again."},
		{70012, 503, serverError, "", "A server error occurred while authenticating a Microsoft account user. Please try again."},
		{80005, 503, unavailableError, "", "Authentication Agent hit an unpredictable error while processing the response."},
		{50000, 500, serverError, "", "There was an error issuing a token or an issue with our sign-in service."},
	}
}
